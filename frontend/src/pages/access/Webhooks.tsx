/** Webhooks: whom the studio tells of what, and what came of each message. */
import { Button, Checkbox, Group, Modal, Skeleton, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { once, useAttempt } from '../../api/attempt';
import { api, ApiError, data, messageOf, stayHere } from '../../api/client';
import type { components } from '../../api/schema';
import { Ago } from '../../components/Ago';
import { Copy, Failure } from '../../components/parts';
import { moment } from '../../format';

type Webhook = components['schemas']['WebhookOut'];
type Event = components['schemas']['WebhookEvent'];
const EVENTS: Record<Event, string> = {
  'run.waiting': 'Run waits', 'run.queued': 'Run queued', 'run.started': 'Run started', 'run.cancelling': 'Run is being cancelled',
  'run.succeeded': 'Run succeeded', 'run.failed': 'Run failed', 'run.cancelled': 'Run cancelled', 'sweep.finished': 'Sweep finished',
}; // prettier-ignore
const ENDS: Event[] = ['run.succeeded', 'run.failed', 'run.cancelled', 'sweep.finished'];
const KEY = ['webhooks'];
const OVERLAP_HOURS = 24;
const at = (id: string) => ({ params: { path: { webhook_id: id } } });

export function Webhooks() {
  const hooks = useQuery({ queryKey: KEY, queryFn: async () => (await data(api.GET('/api/v1/webhooks', { params: { query: { limit: 100 } } }))).items });
  return (
    <section className="panel box access" aria-labelledby="webhooks" data-testid="webhooks">
      <h2 id="webhooks">Webhooks</h2>
      {hooks.isError && <Failure title="Webhooks cannot be listed" error={hooks.error} />}
      {!hooks.data && !hooks.isError && <Skeleton height={60} />}
      {hooks.data && hooks.data.length > 0 && <ul className="list">{hooks.data.map((hook) => <Row key={hook.id} hook={hook} />)}</ul>}
      <Make />
    </section>
  );
}

function Row({ hook }: { hook: Webhook }) {
  const client = useQueryClient();
  const [shown, setShown] = useState(false);
  const [ending, setEnding] = useState(false);
  const [replacing, setReplacing] = useState(false);
  const onSettled = () => client.invalidateQueries({ queryKey: KEY });
  const test = useMutation({ mutationFn: () => data(api.POST('/api/v1/webhooks/{webhook_id}/test', at(hook.id))), onSuccess: () => setShown(true), onSettled });
  const turn = useMutation({ mutationFn: () => data(api.PATCH('/api/v1/webhooks/{webhook_id}', { ...at(hook.id), body: { enabled: !hook.enabled } })), onSettled });
  const remove = useMutation({ mutationFn: () => data(api.DELETE('/api/v1/webhooks/{webhook_id}', at(hook.id))), onSettled });
  const key = useRef(''); // of one opened dialog: an answer that was lost can be asked for again
  const renew = useMutation({
    mutationFn: (hours: number) => data(api.POST('/api/v1/webhooks/{webhook_id}/secret', { params: { ...at(hook.id).params, header: { 'Idempotency-Key': `${key.current}-${hours}` } }, body: { overlap_hours: hours } })),
    onSuccess: () => setReplacing(false),
    onSettled: () => void onSettled(), // the secret does not wait for the list
  });
  const error = test.error ?? turn.error ?? remove.error;
  return (
    <li data-webhook={hook.id}>
      <span className="name">{hook.url}</span>{!hook.enabled && <span className="tag">disabled</span>}
      <Group gap={4} className="push">
        <Button size="compact-xs" variant="subtle" color="gray" loading={test.isPending} disabled={!hook.enabled} onClick={() => test.mutate()}>Test</Button>
        <Button size="compact-xs" variant="subtle" color="gray" aria-expanded={shown} onClick={() => setShown(!shown)}>Messages</Button>
        <Button size="compact-xs" variant="subtle" color="gray" aria-label={`New secret of ${hook.url}`} disabled={renew.isPending || renew.isSuccess} onClick={() => { key.current = once(); renew.reset(); setReplacing(true); }}>New secret</Button>
        <Button size="compact-xs" variant="subtle" color="gray" loading={turn.isPending} onClick={() => turn.mutate()}>{hook.enabled ? 'Disable' : 'Enable'}</Button>
        <Button size="compact-xs" variant="subtle" color="red" aria-label={`Delete ${hook.url}`} onClick={() => setEnding(true)}>Delete</Button>
      </Group>
      <span className="sub">{hook.description && <>{hook.description}. </>}{hook.events.map((one) => EVENTS[one]).join(', ')}. {hook.disabled_reason ?? (hook.accepted_at ? <>Last accepted <Ago at={hook.accepted_at} /></> : 'Nothing accepted yet')}{hook.waiting > 0 && `, ${hook.waiting} to be sent`}.{hook.old_secret_until && ` Signed with the old secret too until ${moment(hook.old_secret_until)}.`}</span>
      {renew.data && <Secret name="replaced-secret" of={renew.data.url} secret={renew.data.secret} onDone={() => renew.reset()} />}
      {error && <p className="wrong" role="alert">{messageOf(error)}</p>}
      {shown && <Deliveries hook={hook.id} />}
      <Modal opened={ending} onClose={() => setEnding(false)} title="Delete this webhook?" centered>
        <Text size="sm">{hook.url} is told nothing more; what waits is not sent, and the record of its messages goes.</Text>
        <Group justify="flex-end" mt="md"><Button variant="default" onClick={() => setEnding(false)}>Keep</Button><Button color="red" loading={remove.isPending} onClick={() => { setEnding(false); remove.mutate(); }}>Delete</Button></Group>
      </Modal>
      <Modal opened={replacing} onClose={() => { if (!renew.isPending) setReplacing(false); }} title="A new secret?" size="lg" centered>
        <Text size="sm">Receivers of {hook.url} must learn it. With a day of overlap messages are signed with both, so that nothing is lost meanwhile. If the present one has leaked, end it now: until a receiver knows the new one, it refuses what is sent.</Text>
        {hook.old_secret_until && <Text size="sm" mt="sm" c="var(--c-warn)">A secret before the present one still signs, until {moment(hook.old_secret_until)}. It ends at once.</Text>}
        {renew.isError && <p className="wrong" role="alert">{messageOf(renew.error)}</p>}
        <Group justify="flex-end" mt="md"><Button variant="default" disabled={renew.isPending} onClick={() => setReplacing(false)}>Keep</Button><Button color="red" variant="light" loading={renew.isPending && renew.variables === 0} onClick={() => renew.mutate(0)}>Replace at once</Button><Button loading={renew.isPending && renew.variables !== 0} onClick={() => renew.mutate(OVERLAP_HOURS)}>Replace, a day of overlap</Button></Group>
      </Modal>
    </li>
  ); // prettier-ignore
}

/** Shown once: whoever asks again gets another one. */
function Secret({ name, of, secret, onDone }: { name: string; of: string; secret: string; onDone(): void }) {
  const shown = useRef<HTMLDivElement>(null);
  useEffect(() => stayHere(), []);
  useEffect(() => { const soon = setTimeout(() => shown.current?.focus(), 50); return () => clearTimeout(soon); }, []); // after a dialog has given the focus back
  return (
    <div className="once" data-testid={name} ref={shown} tabIndex={-1} role="group" aria-label="New secret">
      <p className="note">The secret that verifies the signatures of {of}. It is shown now and never again.</p>
      <code>{secret}</code><Copy text={secret} /><Button size="xs" variant="default" onClick={onDone}>Done</Button>
    </div>
  ); // prettier-ignore
}

function Deliveries({ hook }: { hook: string }) {
  const client = useQueryClient();
  const key = [...KEY, hook];
  const seen = useQuery({ queryKey: key, queryFn: async () => (await data(api.GET('/api/v1/webhooks/{webhook_id}/deliveries', { params: { path: { webhook_id: hook }, query: { limit: 20 } } }))).items, refetchInterval: (query) => (query.state.data?.some((one) => one.status === 'pending') ? 2000 : false) });
  const again = useMutation({ mutationFn: (id: string) => data(api.POST('/api/v1/webhooks/deliveries/{delivery_id}/retry', { params: { path: { delivery_id: id } } })), onSettled: () => client.invalidateQueries({ queryKey: key }) });
  return (
    <ul className="list deliveries" aria-label="Messages">
      {seen.isError && <li role="alert">{messageOf(seen.error)}</li>}
      {seen.data?.length === 0 && <li className="muted">Nothing has been sent yet.</li>}
      {seen.data?.map((one) => (
        <li key={one.id} data-status={one.status}>
          <span>{one.type}</span><span className="tag">{one.status}</span><span className="muted"><Ago at={one.attempted_at ?? one.created_at} />{one.attempts > 1 && `, ${one.attempts} attempts`}</span>
          {one.status !== 'pending' && <Button className="push" size="compact-xs" variant="subtle" color="gray" loading={again.isPending && again.variables === one.id} onClick={() => again.mutate(one.id)}>Send again</Button>}
          {(one.answer_status !== null || one.answer) && <span className="sub">{[one.answer_status, one.answer].filter(Boolean).join(': ')}</span>}
        </li>
      ))}
    </ul>
  ); // prettier-ignore
}

function Make() {
  const client = useQueryClient();
  const [url, setUrl] = useState('');
  const [description, setDescription] = useState('');
  const [events, setEvents] = useState<string[]>(ENDS);
  const attempt = useAttempt();
  const make = useMutation({
    mutationFn: () => {
      const body = { url: url.trim(), events: events as Event[], description };
      return attempt(body, (header) => data(api.POST('/api/v1/webhooks', { params: { header }, body })));
    },
    onSuccess: () => { setUrl(''); setDescription(''); void client.invalidateQueries({ queryKey: KEY }); },
  });
  const wrong = (field: string): string | undefined => (make.error instanceof ApiError ? make.error.problem.errors.find((one) => one.field.startsWith(field))?.message : undefined);
  if (make.data) return <Secret name="new-webhook" of={make.data.url} secret={make.data.secret} onDone={() => make.reset()} />;
  return (
    <form onSubmit={(event) => { event.preventDefault(); make.mutate(); }} aria-label="Add a webhook">
      <TextInput className="wide" size="xs" label="Address to tell" placeholder="https://ci.example.org/hooks/copg" value={url} error={wrong('url')} onChange={(event) => setUrl(event.currentTarget.value)} />
      <TextInput className="wide" size="xs" label="What it is for" placeholder="the team’s chat" maxLength={1000} value={description} error={wrong('description')} onChange={(event) => setDescription(event.currentTarget.value)} />
      <Checkbox.Group style={{ flexBasis: '100%' }} label="Of what" size="xs" value={events} error={wrong('events')} onChange={setEvents}><Group gap={12} mt={6}>{Object.entries(EVENTS).map(([value, label]) => <Checkbox key={value} size="xs" value={value} label={label} />)}</Group></Checkbox.Group>
      <Button size="xs" type="submit" disabled={!url.trim() || events.length === 0} loading={make.isPending} data-testid="make-webhook">Add a webhook</Button>
      {make.isError && !wrong('url') && !wrong('events') && !wrong('description') && <p className="wrong" role="alert">{messageOf(make.error)}</p>}
    </form>
  ); // prettier-ignore
}
