/** What a tab of the browser and a screen reader call the open page. */
import { useEffect } from 'react';

const STUDIO = 'CoPG Studio';

/** `name` is undefined while it is not known. */
export function usePageTitle(name: string | undefined): void {
  useEffect(() => {
    document.title = name ? `${name} · ${STUDIO}` : STUDIO;
    return () => { document.title = STUDIO; };
  }, [name]);
}

/** For a page that is no component of its own. */
export function PageTitle({ name }: { name: string }) {
  usePageTitle(name);
  return null;
}
