/** A form over something that others may edit meanwhile: nothing that was typed is lost, and one decides whose words stay. */
import { Button } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { type FormEvent, type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from 'react';
import { ApiError, messageOf } from '../api/client';
import { changes, listed, withTheirs } from './edits';
import { Failure } from './parts';
import { useUnsaved } from './unsaved';
import './tags.css';

/** What was read, with the ETag that came with it. */
export interface Read<T> { row: T; etag: string }
/** Whether the page of `id` shows its form, which begins with what the server has when it is opened, and how to open and close it. */
export function useOpened<T extends { id: string }, F>(id: string, read: (id: string) => Promise<Read<T>>) {
  const [opened, setOpened] = useState<{ read: Read<T>; focus: F } | null>(null);
  const pencil = useRef<HTMLButtonElement>(null);
  const before = useRef(false);
  useEffect(() => { // the keyboard goes on where it came from
    if (before.current && !opened) pencil.current?.focus();
    before.current = opened !== null;
  }, [opened]);
  const edit = async (focus: F): Promise<void> => {
    try {
      setOpened({ read: await read(id), focus });
    } catch (failure) {
      notifications.show({ color: 'red', title: 'It cannot be edited', message: messageOf(failure) });
    }
  };
  return { shown: opened?.read.row.id === id ? opened : null, pencil, edit, close: () => setOpened(null) };
}

interface Options<T, D> {
  fields: readonly (keyof D & string)[];
  read: () => Promise<Read<T>>;
  save: (changed: Partial<D>, etag: string) => Promise<T>;
  /** The row as the server has it now. */
  known: (row: T) => void;
  /** What is sent of a draft. */
  trimmed?: (draft: D) => D;
  onClose: () => void;
}

export function useEditing<T extends D, D extends object>(first: Read<T>, { fields, read, save: send, known, trimmed = (draft) => draft, onClose }: Options<T, D>) {
  const [base, setBase] = useState(first);
  const [draft, setDraft] = useState<D>(first.row);
  const [theirs, setTheirs] = useState<Read<T> | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  const differ = (before: D, after: D): Partial<D> => changes<D>(fields, before, after);
  const mine = differ(base.row, trimmed(draft));
  useUnsaved(Object.keys(mine).length > 0);

  async function save(etag: string): Promise<void> {
    setBusy(true);
    setFailure(null);
    try {
      let wanted = etag;
      for (;;) {
        try {
          if (Object.keys(mine).length) known(await send(mine, wanted));
          return onClose();
        } catch (error) {
          if (!(error instanceof ApiError && error.problem.status === 412)) throw error;
          const found = await read();
          known(found.row);
          wanted = found.etag;
          // Where others changed only what is not edited here, a run's priority for one, nobody's text is at stake: save on.
          if (Object.keys(differ((theirs ?? base).row, found.row)).length) return setTheirs(found);
        }
      }
    } catch (error) {
      setFailure(error);
    } finally {
      setBusy(false);
    }
  }

  function takeTheirs(found: Read<T>): void {
    const left = withTheirs<D>(fields, base.row, draft, found.row);
    if (!Object.keys(differ(found.row, left)).length) return onClose();
    setBase(found);
    setDraft(left);
    setTheirs(null);
    form.current?.querySelector<HTMLElement>('input, textarea')?.focus(); // the button that was pressed goes
  }

  const told = failure instanceof ApiError ? failure.problem.errors : [];
  return {
    draft, base, mine, theirs, failure, busy, told, save, takeTheirs, onClose,
    put: <F extends keyof D>(field: F, value: D[F]): void => { if (!busy) setDraft((before) => ({ ...before, [field]: value })); },
    wrong: (field: keyof D & string): string | undefined => told.find((one) => one.field.split('.')[0] === field)?.message,
    form: {
      ref: form,
      noValidate: true,
      'aria-busy': busy,
      onSubmit: (event: FormEvent): void => { event.preventDefault(); if (!theirs && !busy) void save(base.etag); },
      onKeyDown: (event: KeyboardEvent): void => {
        if (busy && event.key.length === 1 && !event.ctrlKey && !event.metaKey) return event.preventDefault(); // what is typed while it is being saved would go with the form
        const list = (event.target as HTMLElement).closest('[data-mantine-stop-propagation=true]'); // Escape closes an open list alone
        if (event.key === 'Escape' && !list && !Object.keys(mine).length) onClose(); // what was typed is never lost by a key
        if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
        (event.target as HTMLElement).blur(); // a tag that is still being typed becomes one
        setTimeout(() => form.current?.requestSubmit());
      },
    },
  }; // prettier-ignore
}

type Editing<T extends D, D extends object> = ReturnType<typeof useEditing<T, D>>;
interface Shown<T extends D, D extends object> { editing: Editing<T, D>; labels: Record<keyof D & string, string>; show: (field: keyof D & string, row: D) => ReactNode; ready: boolean }

/** Below the fields: what others changed, what went wrong, and the buttons. */
export function EditingEnd<T extends D, D extends object>({ editing, labels, show, ready }: Shown<T, D>) {
  const { theirs, failure, busy, base, mine, save, takeTheirs, onClose, wrong } = editing;
  const names = Object.keys(labels) as (keyof D & string)[];
  const alert = useRef<HTMLDivElement>(null);
  useEffect(() => { if (theirs) alert.current?.focus(); }, [theirs]);
  const changed = theirs ? names.filter((field) => field in changes<D>(names, base.row, theirs.row)) : [];
  const called = (fields: readonly (keyof D & string)[]): string => listed(fields.map((field) => labels[field].toLowerCase()));
  const both = changed.filter((field) => field in mine);
  return (
    <>
      {theirs && (
        <div ref={alert} tabIndex={-1} data-testid="edit-conflict">
          <Failure title={`Somebody else changed the ${called(changed)} while you wrote`}>
            <p>{both.length ? `Nothing is saved yet. Saving yours replaces their ${called(both)}.` : 'Nothing is saved yet. You changed something else: saving yours leaves theirs as it is.'}</p>
            <dl>{changed.map((field) => <div key={field}><dt>{labels[field]} now</dt><dd>{show(field, theirs.row)}</dd></div>)}</dl>
          </Failure>
        </div>
      )}
      {failure !== null && !names.some(wrong) && <Failure title="It was not saved" error={messageOf(failure)} />}
      <div className="bottom">
        {theirs ? (
          <>
            <Button size="xs" loading={busy} onClick={() => void save(theirs.etag)}>Save mine over it</Button>
            <Button size="xs" variant="default" disabled={busy} onClick={() => takeTheirs(theirs)}>Take theirs</Button>
          </>
        ) : <Button size="xs" type="submit" loading={busy} disabled={!ready}>Save</Button>}
        <Button size="xs" variant="subtle" color="gray" disabled={busy} onClick={onClose}>Cancel</Button>
        {!theirs && <span className="sub">Ctrl+Enter saves</span>}
      </div>
    </>
  );
}
