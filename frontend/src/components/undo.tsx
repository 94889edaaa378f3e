/** Deletions that can be taken back for a moment: one way for whatever a person can delete. */
import { Button, Group, Kbd } from '@mantine/core';
import { type NotificationData, notifications } from '@mantine/notifications';
import { useMutation } from '@tanstack/react-query';
import { messageOf } from '../api/client';
import { begin, type Deletion, finish, isWaiting, leaveAll, refusalOf, sendOff, takeBack, takeBackId } from '../api/deleting';
import { keysAreOn, useKeys } from './keys';
import { Offers } from './offers';

addEventListener('pagehide', leaveAll);

/** In which a deletion can be taken back: whoever reads or moves slowly has twenty seconds (WCAG 2.2.1), and as long as the pointer or the focus stays on the notice. */
const MOMENT = 20_000;
const undos = new Set<() => void>(); // the last deletion last
export const undoLast = (): void => [...undos].at(-1)?.();

/** Hide it at once and delete it a moment later, unless somebody takes it back. */
export function deleteSoon(what: string, deletion: Deletion): void {
  const id = `delete-${deletion.ids[0]}`;
  if (!begin(deletion, () => notifications.hide(id))) return;
  let late = false; // its time was up: while the notice fades, it can still be clicked
  let from: HTMLElement | null = null; // where the focus was before it came to the notice
  let within: Element | null = null;
  const undo = (): void => {
    if (late) notifications.show({ message: `Too late: ${what} ${deletion.ids.length > 1 ? 'are' : 'is'} being deleted`, autoClose: 5000, closeButtonProps: CLOSE });
    if (!takeBack(deletion)) return;
    notifications.hide(id);
    notifications.show({ message: `Taken back: ${what}`, autoClose: 3000, closeButtonProps: CLOSE });
  };
  const notice: NotificationData = {
    id,
    autoClose: MOMENT,
    message: <Deleted what={what} undo={undo} />,
    closeButtonProps: CLOSE,
    onFocusCapture: ({ currentTarget, relatedTarget }) => {
      if (relatedTarget instanceof HTMLElement && !currentTarget.contains(relatedTarget)) from = relatedTarget;
      within = currentTarget;
      notifications.update({ ...notice, autoClose: false });
    },
    onBlurCapture: () => notifications.update(notice),
    onClose: () => {
      undos.delete(undo);
      if (within?.contains(document.activeElement)) (from?.isConnected ? from : document.getElementById('page'))?.focus();
      late = isWaiting(deletion);
      void finish(deletion).catch((error: unknown) => notifications.show({ color: 'red', title: deletion.ids.length > 1 ? 'Not everything could be deleted' : `${what} could not be deleted`, message: messageOf(error), autoClose: 10_000, closeButtonProps: CLOSE }));
    },
  };
  undos.add(undo);
  notifications.show(notice);
}

const CLOSE = { 'aria-label': 'Close' };

/** While it stands there, the key and the palette take the deletion back too: the notice is the last thing that Tab reaches. */
function Deleted({ what, undo }: { what: string; undo: () => void }) {
  useKeys({ u: undoLast });
  return (
    <Group gap={10} wrap="nowrap" justify="space-between">
      <Offers group="Undo" offers={[{ id: what, label: `Take back: deleted ${what}`, act: undo }]} />
      <span style={{ overflowWrap: 'anywhere', minWidth: 0 }}>Deleted: {what}</span>
      <Button size="compact-xs" variant="default" style={{ flex: 'none' }} rightSection={keysAreOn() && <Kbd size="xs">u</Kbd>} aria-label="Undo" aria-keyshortcuts={keysAreOn() ? 'u' : undefined} onClick={undo}>Undo</Button>
    </Group>
  );
}

/** On the page of what waits to be deleted, under one of these names: nothing is done with it any more but to take that back. */
export function BeingDeleted({ what, names }: { what: string; names: readonly string[] }) {
  const undo = (): void => {
    if (names.some(takeBackId)) document.getElementById('page')?.focus(); // the button goes
    else notifications.show({ message: `Too late: ${what} is being deleted`, autoClose: 5000, closeButtonProps: CLOSE });
  };
  return (
    <div className="alert quiet" role="note" data-testid="being-deleted">
      <strong>Deleted: {what}</strong>
      <p>It is still shown here, and nothing can be done with it any more. <Button size="compact-xs" variant="default" ml={6} onClick={undo}>Undo</Button></p>
    </div>
  );
}

/** The focus goes to the neighbour of a row that disappears, or where there is none to what holds the list. */
export function passFocus(row: Element | null, holder: HTMLElement | null | undefined): void {
  ((row?.nextElementSibling ?? row?.previousElementSibling)?.querySelector<HTMLElement>('button:not(:disabled)') ?? holder)?.focus();
}

export interface Deletable {
  /** As the notice calls it. */
  what: string;
  id: string;
  /** Where the API deletes it. */
  path: string;
  /** Delete it there, or only ask whether that would be refused. */
  send: (rehearsed: boolean) => Promise<unknown>;
  /** Take it out of the cached lists. */
  forget: () => unknown;
}

/** Delete one thing soon. The server is asked first: if it refuses, it says so now and not when the moment is over. What would soon
 * answer otherwise by itself, as a sweep of which a worker may begin a run, is not offered for it. */
export function useDelete({ what, id, path, send, forget }: Deletable, { then, settled }: { then?: () => void; settled?: () => void }) {
  return useMutation({
    mutationFn: () => send(true),
    onSuccess: () => {
      deleteSoon(what, { ids: [id], perform: async () => { await send(false); await forget(); }, leave: () => sendOff('DELETE', path) });
      then?.();
    },
    onError: (error) => notifications.show({ color: 'red', title: `${what} cannot be deleted`, message: refusalOf(error), autoClose: 10_000, closeButtonProps: CLOSE }),
    onSettled: settled,
  });
}
