/** What stands in the place of a page that could not be loaded or went wrong: the rest of the window stays as it is. */
import { Button } from '@mantine/core';
import { useRouteError } from 'react-router';
import { someWait } from '../api/deleting';
import { Failure } from './parts';
import { isFirstOf } from './reloads';
import { usePageTitle } from './title';

export function Broken() {
  const error = useRouteError();
  usePageTitle('Not shown');
  return (
    <Failure title="This page cannot be shown" error={error}>
      <Button mt="sm" size="xs" variant="default" onClick={() => location.reload()}>Load again</Button>
    </Failure>
  );
}

/** A part of the page that cannot be loaded was usually replaced by a newer build, and one whole load finds that. Not where nobody answers, which
 * would leave nothing of what is shown; not twice in a row; and not while a deletion could still be taken back, which a load would send off. */
export async function loadOnceMore(): Promise<void> {
  const there = await fetch('/', { cache: 'no-store' }).then((answer) => answer.ok, () => false);
  if (there && !someWait() && isFirstOf(sessionStorage, Date.now())) location.reload();
}
