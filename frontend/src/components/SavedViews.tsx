/** Pages kept by a name, for everybody who uses the studio: what is chosen on a page stands in its address, and that is what is kept. */
import { ActionIcon, Button, Popover, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { IconBookmark, IconTrash } from '@tabler/icons-react';
import { useState } from 'react';
import { Link, useLocation } from 'react-router';
import { api, data, messageOf } from '../api/client';
import { May } from '../api/session';

const KEY = ['saved views'];
export const useSavedViews = (enabled = true) => useQuery({ queryKey: KEY, queryFn: async () => (await data(api.GET('/api/v1/saved-views'))).items, enabled });

export function SavedViews() {
  const [open, setOpen] = useState(false);
  const client = useQueryClient();
  const { pathname, search } = useLocation();
  const address = pathname + search;
  const views = useSavedViews(open);
  const [name, setName] = useState('');
  const onSettled = () => client.invalidateQueries({ queryKey: KEY });
  const save = useMutation({ mutationFn: () => data(api.POST('/api/v1/saved-views', { body: { name: name.trim(), address } })), onSuccess: () => setName(''), onSettled });
  const remove = useMutation({ mutationFn: (view: string) => data(api.DELETE('/api/v1/saved-views/{view_id}', { params: { path: { view_id: view } } })), onSettled });
  const here = views.data?.find((view) => view.address === address);
  const error = save.error ?? remove.error ?? views.error;
  return (
    <Popover opened={open} onChange={setOpen} position="bottom-end" width={300} trapFocus>
      <Popover.Target><ActionIcon variant="subtle" color="gray" aria-label="Saved views" aria-expanded={open} onClick={() => { save.reset(); remove.reset(); setOpen(!open); }}><IconBookmark size={17} /></ActionIcon></Popover.Target>
      <Popover.Dropdown className="saved-views" aria-label="Saved views">
        {views.data?.length === 0 && <p className="muted">None yet. What is chosen on a page can be kept by a name.</p>}
        <ul>
          {views.data?.map((view) => (
            <li key={view.id}>
              <Link to={view.address} className="cut" aria-current={view === here ? 'page' : undefined} onClick={() => setOpen(false)}>{view.name}</Link>
              <May scope="launch"><ActionIcon size="sm" variant="subtle" color="gray" aria-label={`Forget ${view.name}`} loading={remove.isPending && remove.variables === view.id} onClick={() => remove.mutate(view.id)}><IconTrash size={14} /></ActionIcon></May>
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
