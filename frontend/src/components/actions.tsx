/** Cancel, resume, retry, clone and delete: the same menu for a row, a selection and a run's own page. */
import { ActionIcon, Button, Group, Menu, Modal, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { IconCopyPlus, IconDots, IconPlayerPlay, IconPlayerStop, IconRefresh, IconTrash } from '@tabler/icons-react';
import { createContext, type ReactNode, useCallback, useContext, useState } from 'react';
import { useNavigate } from "react-router";
import { messageOf, type RunSummary } from '../api/client';
import { type Action, actionsFor, useAct } from '../api/queries';
import { refusalOf, sendOff } from '../api/deleting';
import { useMay } from '../api/session';
import { Offers } from './offers';
import { deleteSoon } from './undo';

const TEXT: Record<Action, { label: string; title: string; explain: string; done: string; icon: typeof IconTrash }> = {
  cancel: { label: 'Cancel', title: 'Cancel', explain: 'A running one writes a checkpoint first, so it can be resumed. Runs that wait for it are cancelled too.', done: 'Cancelling', icon: IconPlayerStop },
  resume: { label: 'Resume', title: 'Resume', explain: 'Goes on from the last checkpoint.', done: 'Queued again, from the checkpoint', icon: IconPlayerPlay },
  retry: { label: 'Retry from scratch', title: 'Retry from scratch', explain: 'Its curves, samples and checkpoints are dropped, and it starts at step 0.', done: 'Queued again, from the start', icon: IconRefresh },
  delete: { label: 'Delete', title: 'Delete', explain: 'Its curves, samples, checkpoints and trained model are removed. For a few seconds it can be taken back.', done: 'Deleted', icon: IconTrash },
};

const called = (runs: readonly RunSummary[]): string => (runs.length === 1 ? runs[0]!.name : `${runs.length} runs`);

const MOST_LEAVING = 250; // about 9 kB of ids

/** Of a page that goes away browsers take 64 kB, all its requests together: in small ones about 1,500 runs are deleted, and not none
 * because the last do not fit. Those stay. */
function leaveDeleting(runs: readonly RunSummary[]): void {
  for (let begin = 0; begin < runs.length; begin += MOST_LEAVING) sendOff('POST', '/api/v1/runs/bulk', { action: 'delete', ids: runs.slice(begin, begin + MOST_LEAVING).map((run) => run.id), dry_run: false });
}

type Ask = (action: Action, runs: readonly RunSummary[], then?: () => void) => void;
const Context = createContext<Ask>(() => undefined);
export const useAsk = (): Ask => useContext(Context);

/** Holds the one confirmation dialog. Resuming loses nothing, so it is done without asking. */
export function ActionsProvider({ children }: { children: ReactNode }) {
  const [asked, setAsked] = useState<{ action: Action; runs: readonly RunSummary[]; then?: () => void } | null>(null);
  const [open, setOpen] = useState(false);
  const { mutateAsync, isPending } = useAct();
  const perform = useCallback(async (action: Action, runs: readonly RunSummary[], then?: () => void) => {
    try {
      if (action === 'delete') {
        await mutateAsync({ action, runs, rehearsed: true }); // who refuses says so now, not when the moment is over
        setOpen(false);
        deleteSoon(called(runs), { ids: runs.map((run) => run.id), perform: () => mutateAsync({ action, runs }), leave: () => leaveDeleting(runs) });
        then?.();
        return;
      }
      await mutateAsync({ action, runs });
      notifications.show({ message: `${TEXT[action].done}: ${called(runs)}`, autoClose: 3000 });
      then?.();
    } catch (error) {
      notifications.show({ color: 'red', title: 'Not everything could be done', message: action === 'delete' ? refusalOf(error) : messageOf(error), autoClose: 10_000 });
    }
    setOpen(false);
  }, [mutateAsync]);
  const ask = useCallback<Ask>((action, runs, then) => {
    if (runs.length === 0) return;
    if (action === 'resume') { void perform(action, runs, then); return; }
    setAsked({ action, runs, then });
    setOpen(true);
  }, [perform]);
  const text = asked && TEXT[asked.action];
  return (
    <Context value={ask}>
      {children}
      <Modal opened={open} onClose={() => setOpen(false)} title={text && asked && <Text fw={600}>{text.title} {asked.runs.length === 1 ? `“${asked.runs[0]!.name}”` : `${asked.runs.length} runs`}?</Text>}>
        {text && asked && (
          <>
            <Text size="sm" c="dimmed">{text.explain}</Text>
            <Group justify="flex-end" mt="lg">
              <Button variant="default" onClick={() => setOpen(false)}>Keep</Button>
              <Button color={asked.action === 'retry' ? undefined : 'red.8'} loading={isPending} data-autofocus data-testid="confirm-button" onClick={() => void perform(asked.action, asked.runs, asked.then)}>{text.label}</Button>
            </Group>
          </>
        )}
      </Modal>
    </Context>
  );
}

export function RunMenu({ run }: { run: RunSummary }) {
  const ask = useAsk();
  const navigate = useNavigate();
  if (!useMay('launch')) return null;
  return (
    <Menu>
      <Menu.Target><ActionIcon variant="subtle" color="gray" aria-label={`Actions for ${run.name}`}><IconDots size={17} /></ActionIcon></Menu.Target>
      <Menu.Dropdown>
        <Menu.Item leftSection={<IconCopyPlus size={15} />} onClick={() => void navigate(`/launch?algorithm=${run.algorithm}&from=${run.id}`)}>Clone</Menu.Item>
        {actionsFor(run).map((action) => {
          const { label, icon: Icon } = TEXT[action];
          return <Menu.Item key={action} color={action === 'delete' ? 'red' : undefined} leftSection={<Icon size={15} />} data-testid={`${action}-item`} onClick={() => ask(action, [run])}>{label}</Menu.Item>;
        })}
      </Menu.Dropdown>
    </Menu>
  );
}

/** Buttons for one run or a selection: only what at least one of them allows. The palette offers the same, under the name of `group`. */
export function ActionButtons({ runs, group, then }: { runs: readonly RunSummary[]; group: string; then?: (action: Action) => void }) {
  const ask = useAsk();
  const may = useMay('launch');
  const actions = !may ? [] : (Object.keys(TEXT) as Action[]).flatMap((action) => {
    const able = runs.filter((run) => actionsFor(run).includes(action));
    return able.length ? [{ id: action, icon: TEXT[action].icon, label: `${TEXT[action].label}${runs.length > 1 ? ` (${able.length})` : ''}`, act: () => ask(action, able, () => then?.(action)) }] : [];
  });
  return (
    <div style={{ display: 'contents' }}>
      <Offers group={group} offers={actions} />
      {actions.map(({ id, icon: Icon, label, act }) => <Button key={id} variant="default" size="xs" leftSection={<Icon size={14} />} data-testid={`${id}-button`} onClick={act}>{label}</Button>)}
    </div>
  );
}
