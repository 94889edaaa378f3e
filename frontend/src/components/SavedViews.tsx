/** Pages kept by a name, for everybody who uses the studio: what is chosen on a page stands in its address, and that is what is kept. */
import { ActionIcon, Button, Popover, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { IconBookmark, IconTrash } from '@tabler/icons-react';
import { type KeyboardEvent, useCallback, useState } from 'react';
import { Link, useLocation } from 'react-router';
import { dropFrom } from '../api/cache';
import { api, data, messageOf, type SavedView } from '../api/client';
import { finishNow, sendOff, useKept } from '../api/deleting';
import { May } from '../api/session';
import { deleteSoon, passFocus, undoLast } from './undo';

const KEY = ['saved views'];
export function useSavedViews(enabled = true) {
  const kept = useKept();
  const select = useCallback((list: SavedView[]) => kept(list, (one) => [one.id]), [kept]);
  return useQuery({ queryKey: KEY, queryFn: async () => (await data(api.GET('/api/v1/saved-views'))).items, enabled, select });
}

/** Keep an address by a name. Forgetting a view and keeping another by its name is how one is replaced: what was forgotten goes first. */
export async function keep(name: string, address: string, known: readonly SavedView[] = []): Promise<SavedView> {
  for (const one of known) if (one.name === name) await finishNow(one.id);
  return data(api.POST('/api/v1/saved-views', { body: { name, address } }));
}

/** An open list takes the keys of the page for itself, but what was forgotten from it is taken back from it. */
function pressed(event: KeyboardEvent): void {
  if (event.key === 'u' && !event.ctrlKey && !event.metaKey && !event.altKey && !(event.target instanceof HTMLInputElement)) undoLast();
}

export function SavedViews() {
  const [open, setOpen] = useState(false);
  const client = useQueryClient();
  const { pathname, search } = useLocation();
  const address = pathname + search;
  const views = useSavedViews(open);
  const [name, setName] = useState('');
  const onSettled = () => client.invalidateQueries({ queryKey: KEY });
  const save = useMutation({ mutationFn: () => keep(name.trim(), address, client.getQueryData<SavedView[]>(KEY)), onSuccess: () => setName(''), onSettled });
  const forget = (view: SavedView): void => deleteSoon(view.name, {
    ids: [view.id],
    perform: async () => {
      await api.DELETE('/api/v1/saved-views/{view_id}', { params: { path: { view_id: view.id } } });
      await dropFrom<SavedView[]>(client, KEY, (list) => list.filter((one) => one.id !== view.id));
    },
    leave: () => sendOff('DELETE', `/api/v1/saved-views/${view.id}`),
  });
  const here = views.data?.find((view) => view.address === address);
  const error = save.error ?? views.error;
  return (
    <Popover opened={open} onChange={setOpen} position="bottom-end" width={300} trapFocus>
      <Popover.Target><ActionIcon variant="subtle" color="gray" aria-label="Saved views" aria-expanded={open} onClick={() => { save.reset(); setOpen(!open); }}><IconBookmark size={17} /></ActionIcon></Popover.Target>
      <Popover.Dropdown className="saved-views" aria-label="Saved views" onKeyDown={pressed}>
        {views.data?.length === 0 && <p className="muted">None yet. What is chosen on a page can be kept by a name.</p>}
        <ul>
          {views.data?.map((view) => (
            <li key={view.id}>
              <Link to={view.address} className="cut" aria-current={view === here ? 'page' : undefined} onClick={() => setOpen(false)}>{view.name}</Link>
              <May scope="launch"><ActionIcon size="sm" variant="subtle" color="gray" aria-label={`Forget ${view.name}`} onClick={(event) => { const row = event.currentTarget.closest('li'); passFocus(row, row?.closest('.saved-views')?.querySelector('input')); forget(view); }}><IconTrash size={14} /></ActionIcon></May>
            </li>
          ))}
        </ul>
        <May scope="launch">
          <form onSubmit={(event) => { event.preventDefault(); if (name.trim()) save.mutate(); }}>
            <TextInput size="xs" aria-label="Name of this view" placeholder={here ? `Kept as ${here.name}` : 'Keep this page as'} maxLength={80} value={name} onChange={(event) => { save.reset(); setName(event.currentTarget.value); }} />
            <Button size="xs" type="submit" variant="default" disabled={!name.trim()} loading={save.isPending}>Keep</Button>
          </form>
        </May>
        {error && <p role="alert" className="wrong">{messageOf(error)}</p>}
      </Popover.Dropdown>
    </Popover>
  ); // prettier-ignore
}
