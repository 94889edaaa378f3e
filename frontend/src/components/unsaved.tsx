/** What was typed and not saved, or is under way: no link, closed tab or lost login takes it away unasked. */
import { Button, Group, Modal, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useCallback, useEffect, useRef } from 'react';
import { type BlockerFunction, type Location, useBlocker } from 'react-router';
import { stayHere } from '../api/client';

/** Whether what is held would be lost on the way from one address to the other. */
type Loses = (from: Pick<Location, 'pathname' | 'search'>, to: Pick<Location, 'pathname' | 'search'>) => boolean;

const held = new Set<{ loses: Loses }>();
const NOTICE = 'logged-out';
const thing = (pathname: string): string => pathname.split('/').slice(0, 3).join('/');
/** A page is another one where its thing is: tabs, and what a page keeps in its query, lose nothing. */
export const another: Loses = (from, to) => thing(from.pathname) !== thing(to.pathname);

const ask = (event: BeforeUnloadEvent): void => event.preventDefault();
const tell = (): void => {
  notifications.show({ id: NOTICE, color: 'red', autoClose: false, closeButtonProps: { 'aria-label': 'Close' }, message: <>You were logged out: log in in <a href="/login" target="_blank" rel="noreferrer">another tab</a>, then save again. What stands here stays.</> });
};

/** Until what is returned is called, the browser asks before the page is closed, links ask where they would lose it, and nobody is sent to log in. */
export function hold(loses: Loses): () => void {
  const one = { loses };
  const away = stayHere(tell);
  if (held.size === 0) addEventListener('beforeunload', ask);
  held.add(one);
  return () => {
    if (!held.delete(one)) return;
    away();
    if (held.size > 0) return;
    removeEventListener('beforeunload', ask);
    notifications.hide(NOTICE);
  };
}

export const isLost: Loses = (from, to) => [...held].some(({ loses }) => loses(from, to));

/** Hold what a form has while it is `dirty`. What is returned lets go at once, for whoever has saved it and leads away. */
export function useUnsaved(dirty: boolean, loses: Loses = another): () => void {
  const end = useRef<() => void>(undefined);
  useEffect(() => {
    if (!dirty) return;
    end.current = hold(loses);
    return end.current;
  }, [dirty, loses]);
  return useCallback(() => end.current?.(), []);
}

const ABOVE = 300; // a dialog in which somebody types

const blocks: BlockerFunction = ({ currentLocation, nextLocation }) => isLost(currentLocation, nextLocation);

/** Asks once for all of a page: the router has one place for such a question. */
export function Leaving() {
  const blocker = useBlocker(blocks);
  return (
    <Modal opened={blocker.state === 'blocked'} onClose={() => blocker.reset?.()} title="Leave without saving?" zIndex={ABOVE}>
      <Text size="sm">What you changed on this page is not saved, and would be lost.</Text>
      <Group justify="flex-end" mt="lg"><Button variant="default" data-autofocus onClick={() => blocker.reset?.()}>Stay</Button><Button color="red.8" onClick={() => blocker.proceed?.()} data-testid="confirm-leave">Leave without saving</Button></Group>
    </Modal>
  );
}
