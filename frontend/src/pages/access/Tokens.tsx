/** Tokens: made, shown once, and revoked. */
import { Button, Group, Modal, NumberInput, Select, Skeleton, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useEffect, useRef, useState } from 'react';
import { useAttempt } from '../../api/attempt';
import { api, ApiError, data, messageOf, stayHere } from '../../api/client';
import type { components } from '../../api/schema';
import { type Scope, useSession } from '../../api/session';
import { Ago } from '../../components/Ago';
import { Copy, Failure } from '../../components/parts';
import { moment } from '../../format';

type Token = components['schemas']['TokenOut'];
const SCOPES: readonly { value: Scope; label: string }[] = [{ value: 'read', label: 'read: look' }, { value: 'launch', label: 'launch: start and steer runs' }, { value: 'admin', label: 'admin: everything' }];

const over = (token: Token): ReactNode => (token.revoked_at ? <>revoked <Ago at={token.revoked_at} /></> : token.expires_at && Date.parse(token.expires_at) < Date.now() ? <>expired <Ago at={token.expires_at} /></> : null);

export function Tokens() {
  const client = useQueryClient();
  const tokens = useQuery({ queryKey: ['tokens'], queryFn: async () => (await data(api.GET('/api/v1/tokens'))).items });
  const open = useSession().data?.kind === 'open';
  const [ending, setEnding] = useState<Token>();
  const revoke = useMutation({
    mutationFn: (token: Token) => data(api.DELETE('/api/v1/tokens/{token_id}', { params: { path: { token_id: token.id } } })),
    onSettled: () => { setEnding(undefined); void client.invalidateQueries(); }, // the last one that goes opens the studio again
  });
  return (
    <section className="panel box access" aria-labelledby="tokens" data-testid="tokens">
      <h2 id="tokens">Tokens</h2>
      {open && <p className="note">No token is in force: whoever reaches this address may do everything. From the first one on everybody needs one; it has scope admin, and this browser is logged in with it.</p>}
      {tokens.isError && <Failure title="Tokens cannot be listed" error={tokens.error} />}
      {!tokens.data && !tokens.isError && <Skeleton height={60} />}
      {tokens.data && tokens.data.length > 0 && (
        <ul className="list">
          {tokens.data.map((token) => (
            <li key={token.id} className={over(token) ? 'over' : undefined} data-token={token.id}>
              <span className="name">{token.name}</span><span className="tag">{token.scope}</span>
              {!over(token) && <Button className="push" size="compact-xs" variant="subtle" color="red" aria-label={`Revoke ${token.name}`} onClick={() => setEnding(token)}>Revoke</Button>}
              <span className="sub">{over(token) ?? (token.last_used_at ? <>last used <Ago at={token.last_used_at} /></> : 'never used')}, made <Ago at={token.created_at} /> by {token.created_by}{!token.revoked_at && token.expires_at && Date.parse(token.expires_at) > Date.now() && <>, until {moment(token.expires_at)}</>}</span>
            </li>
          ))}
        </ul>
      )}
      {revoke.isError && <p className="wrong" role="alert">{messageOf(revoke.error)}</p>}
      <Make first={open} />
      <Modal opened={ending !== undefined} onClose={() => setEnding(undefined)} title={`Revoke ${ending?.name}?`} centered>
        <Text size="sm">Whoever carries it is refused at once, browsers that have logged in with it too. It cannot be taken back.</Text>
        <Group justify="flex-end" mt="md"><Button variant="default" onClick={() => setEnding(undefined)}>Keep</Button><Button color="red" loading={revoke.isPending} onClick={() => ending && revoke.mutate(ending)} data-testid="confirm-revoke">Revoke</Button></Group>
      </Modal>
    </section>
  ); // prettier-ignore
}

function Make({ first }: { first: boolean }) {
  const client = useQueryClient();
  const [name, setName] = useState('');
  const [scope, setScope] = useState<Scope>('launch');
  const [days, setDays] = useState<string | number>('');
  // The first token shuts everybody out who has none, this browser too, while its text is still to be read.
  const leave = useRef<() => void>(undefined);
  const go = (): void => { leave.current?.(); leave.current = undefined; };
  useEffect(() => go, []);
  const attempt = useAttempt();
  const make = useMutation({
    mutationFn: async () => {
      const alone = (await data(api.GET('/api/v1/session'))).kind === 'open';
      leave.current ??= stayHere();
      const body = { name: name.trim(), scope: alone ? 'admin' as const : scope, days: days === '' ? null : Number(days) };
      const made = await attempt(body, (header) => data(api.POST('/api/v1/tokens', { params: { header }, body })));
      const inside = !alone || (await api.POST('/api/v1/session', { body: { token: made.token } }).then(() => true, () => false));
      return { ...made, inside };
    },
    onSuccess: ({ inside }) => { setName(''); setDays(''); if (inside) void client.invalidateQueries(); },
    onError: go,
  });
  const wrong = (field: string): string | undefined => (make.error instanceof ApiError ? make.error.problem.errors.find((one) => one.field === field)?.message : undefined);
  const told = make.isError && !wrong('name') && !wrong('days') && !wrong('scope');
  if (make.data)
    return (
      <div className="once" data-testid="new-token">
        <p className="note">The token <b>{make.data.name}</b>. It is shown now and never again.{!make.data.inside && ' This browser could not be logged in with it: keep it, you will be asked for it.'}</p>
        <code>{make.data.token}</code><Copy text={make.data.token} /><Button size="xs" variant="default" onClick={() => { go(); make.reset(); void client.invalidateQueries(); }}>Done</Button>
      </div>
    ); // prettier-ignore
  return (
    <form onSubmit={(event) => { event.preventDefault(); if (name.trim()) make.mutate(); }} aria-label="Make a token">
      <TextInput className="wide" size="xs" label="Who or what will carry it" placeholder="nightly" maxLength={80} value={name} error={wrong('name')} onChange={(event) => setName(event.currentTarget.value)} />
      <Select size="xs" w={210} label="Scope" allowDeselect={false} data={[...SCOPES]} value={first ? 'admin' : scope} disabled={first} error={wrong('scope')} onChange={(value) => value && setScope(value as Scope)} />
      <NumberInput size="xs" w={130} label="Days it is valid" placeholder="until revoked" min={0.01} max={3650} value={days} error={wrong('days')} onChange={setDays} />
      <Button size="xs" type="submit" disabled={!name.trim()} loading={make.isPending} data-testid="make-token">Make a token</Button>
      {told && <p className="wrong" role="alert">{messageOf(make.error)}</p>}
    </form>
  ); // prettier-ignore
}
