/** Command palette (Ctrl or Cmd and K) and the list of keys (?): go anywhere, find anything by name, do what the open page can do. */
import { Kbd, Modal, Switch } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { type KeyboardEvent as Pressed, useEffect, useId, useLayoutEffect, useRef, useState } from 'react';
import { useNavigate } from 'react-router';
import { api, data } from '../api/client';
import { useKept } from '../api/deleting';
import { useDatasets } from '../api/queries';
import { useMay } from '../api/session';
import { words } from '../format';
import { useSweeps } from '../pages/sweeps/queries';
import { keysAreOn, switchKeys, useKeys } from './keys';
import { useOffered } from './offers';
import { listenForPrinting, printPage } from './printing';
import { useSavedViews } from './SavedViews';
import './palette.css';

interface Entry { id: string; group: string; label: string; hint?: string; act: () => void }
const PAGES = [['Runs', '/runs'], ['Sweeps', '/sweeps'], ['Compare', '/compare'], ['Samples', '/samples'], ['Playground', '/playground'], ['Launch', '/launch'], ['Data', '/data'], ['Bandit', '/bandit'], ['System', '/system'], ['Tokens and webhooks', '/access']] as const;
const KEYS = [['Ctrl or ⌘ + K', 'Go to, find, do'], ['/', 'Search the runs'], ['j, k', 'Next or previous run of the table'], ['Enter', 'Open it'], ['x', 'Select it'], ['u', 'Take back what was just deleted'], ['Ctrl or ⌘ + P', 'Print, with every figure up to date'], ['?', 'Show these keys'], ['Esc', 'Close']] as const;
const FOUND = 6; // of each kind
const STILL = { duration: 0 }; // it must stand there at once, and nothing moves for those who asked for that

export function Palette() {
  const [open, setOpen] = useState<'palette' | 'keys' | null>(null);
  useKeys({ '?': () => setOpen('keys') });
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      const key = event.key.toLowerCase();
      if ((key !== 'k' && key !== 'p') || event.altKey || event.shiftKey || !(event.ctrlKey || event.metaKey)) return;
      if (document.querySelector('[role=dialog]:not([data-palette])')) return; // another dialog wants its answer first
      event.preventDefault();
      if (key === 'p') { setOpen(null); void printPage(); return; }
      setOpen((now) => (now === 'palette' ? null : 'palette'));
    };
    document.addEventListener('keydown', pressed);
    return () => document.removeEventListener('keydown', pressed);
  }, []);
  useEffect(listenForPrinting, []);
  const close = (): void => setOpen(null);
  return (
    <>
      <Modal.Root opened={open === 'palette'} onClose={close} transitionProps={STILL} size="lg" yOffset="12vh">
        <Modal.Overlay transitionProps={STILL} />
        <Modal.Content aria-label="Command palette" data-palette><Modal.Body p={0}><Commands close={close} showKeys={() => setOpen('keys')} /></Modal.Body></Modal.Content>
      </Modal.Root>
      <Modal opened={open === 'keys'} onClose={close} title={<b>Keys</b>} transitionProps={STILL} closeButtonProps={{ 'aria-label': 'Close' }}>
        <Keys />
      </Modal>
    </>
  );
}

function Keys() {
  const [on, setOn] = useState(keysAreOn);
  return (
    <>
      <dl className="keys">{KEYS.map(([key, what]) => <div key={key}><dt><Kbd>{key}</Kbd></dt><dd>{what}</dd></div>)}</dl>
      <Switch mt="md" size="xs" label="Single keys" description="Without them, keys pressed together with Ctrl or ⌘ still work. This list is found in the palette. It counts for this browser." checked={on} onChange={(event) => { switchKeys(event.currentTarget.checked); setOn(event.currentTarget.checked); }} />
    </>
  );
}

function Commands({ close, showKeys }: { close: () => void; showKeys: () => void }) {
  const [text, setText] = useState('');
  const [at, setAt] = useState(0);
  const list = useId();
  const field = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => field.current?.focus(), []); // at once: the dialog's own focus comes a moment later, and keys typed by then would be lost
  const { entries, asking } = useEntries(text.trim(), showKeys);
  const place = Math.min(at, entries.length - 1);
  const perform = (entry: Entry): void => { close(); setTimeout(entry.act, 30); }; // the focus is back by then: a dialog that opens gives it back to the page
  useEffect(() => { document.getElementById(`${list}-${place}`)?.scrollIntoView({ block: 'nearest' }); }, [list, place]);

  const pressed = (event: Pressed): void => {
    const moved = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (moved && entries.length) setAt((place + moved + entries.length) % entries.length);
    else if (event.key === 'Enter' && entries[place] && !event.nativeEvent.isComposing) perform(entries[place]);
    else return;
    event.preventDefault();
  };
  return (
    <div className="palette">
      <input ref={field} data-autofocus role="combobox" aria-expanded="true" aria-controls={list} aria-autocomplete="list" aria-activedescendant={entries.length ? `${list}-${place}` : undefined} aria-label="Go to a page, find a run, a sweep or data, do something here" placeholder="Go to a page, find a run, a sweep or data, do something here" autoComplete="off" spellCheck={false} maxLength={200} value={text} onChange={(event) => { setText(event.currentTarget.value); setAt(0); }} onKeyDown={pressed} />
      <ul id={list} role="listbox" aria-label="What fits">
        {entries.map((entry, index) => (
          <li key={entry.id} id={`${list}-${index}`} role="option" aria-selected={index === place} onPointerMove={() => setAt(index)} onClick={() => perform(entry)}>
            <span className="cut">{entry.label}</span>{entry.hint && <span className="sub">{entry.hint}</span>}<span className="sub push">{entry.group}</span>
          </li>
        ))}
      </ul>
      {entries.length === 0 && !asking && <p className="muted" role="status">Nothing fits these words.</p>}
    </div>
  );
}

/** What fits the words: runs are searched by the server, which knows all of them. Until it has answered (`asking`) none is shown: Enter would
 * open one that fitted earlier words. */
function useEntries(text: string, showKeys: () => void): { entries: Entry[]; asking: boolean } {
  const navigate = useNavigate();
  const may = useMay('launch');
  const [search] = useDebouncedValue(text, 80);
  const runs = useQuery({
    queryKey: ['palette', search],
    queryFn: ({ signal }) => data(api.GET('/api/v1/runs', { params: { query: { search, limit: FOUND } }, signal })),
    enabled: search !== '',
  });
  const keep = useKept();
  const found = search === text ? keep(runs.data?.items ?? [], (one) => [one.id, one.sweep]) : [];
  const sweeps = useSweeps();
  const sets = useDatasets();
  const views = useSavedViews();
  const fits = (name: string): boolean => text.toLowerCase().split(/\s+/).every((word) => name.toLowerCase().includes(word));
  const to = (path: string) => () => void navigate(path);

  const pages = PAGES.filter(([, path]) => may || path !== '/launch').map(([label, path]) => ({ id: path, group: 'Page', label, act: to(path) }));
  const keys = { id: 'keys', group: 'Page', label: 'Keys', act: showKeys };
  const print = { id: 'print', group: 'Page', label: 'Print', act: () => void printPage() };
  // Pages first: Enter pressed too early then changes nothing but the place.
  const kept = (views.data ?? []).map((view) => ({ id: view.id, group: 'View', label: view.name, act: to(view.address) }));
  const known = [...[...pages, print, keys, ...kept].filter((entry) => fits(entry.label)), ...useOffered().filter((entry) => (entry.rare ? text !== '' : true) && fits(`${entry.label} ${entry.group}`))];
  if (text === '') return { entries: known, asking: false };
  const entries = [
    ...known,
    ...found.map((one) => ({ id: one.id, group: 'Run', label: one.name, hint: words(one.state), act: to(`/runs/${one.id}`) })),
    ...(sweeps.data ?? []).filter((one) => fits(one.name)).slice(0, FOUND).map((one) => ({ id: one.id, group: 'Sweep', label: one.name, act: to(`/sweeps/${one.id}`) })),
    ...(sets.data?.items ?? []).flatMap((one) => (one.id !== null && fits(one.name) ? [{ id: one.id, group: 'Data', label: one.name, act: to(`/data/${one.id}`) }] : [])).slice(0, FOUND),
  ];
  return { entries, asking: search !== text || runs.isPending };
}
