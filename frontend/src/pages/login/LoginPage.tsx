/** Where people without a session are sent: a token in, and back to where they were. */
import { Button, PasswordInput } from '@mantine/core';
import { type FormEvent, useEffect, useState } from 'react';
import { useSearchParams } from 'react-router';
import { api, data, messageOf } from '../../api/client';
import { placeAfter, useSession } from '../../api/session';
import { Brand } from '../../components/Brand';
import { usePageTitle } from '../../components/title';

export function LoginPage() {
  const [query] = useSearchParams();
  const session = useSession();
  const [token, setToken] = useState('');
  const [problem, setProblem] = useState('');
  const [busy, setBusy] = useState(false);
  const next = placeAfter(query.get('next'), location.href);
  const inside = session.data !== undefined;
  usePageTitle('Log in');
  useEffect(() => { if (inside) location.replace(next); }, [inside, next]);

  async function submit(event: FormEvent): Promise<void> {
    event.preventDefault();
    if (!token.trim()) { setProblem('Paste your token here.'); return; }
    setBusy(true);
    setProblem('');
    try {
      await data(api.POST('/api/v1/session', { body: { token: token.trim() } }));
      location.replace(next);
    } catch (error) {
      const said = messageOf(error);
      setProblem(said.charAt(0).toUpperCase() + said.slice(1));
      setBusy(false);
    }
  }

  return (
    <main className="login">
      <div className="brand"><Brand /></div>
      <form className="panel" onSubmit={(event) => void submit(event)} noValidate>
        <h1>Log in</h1>
        <p className="muted">This studio asks who is there.</p>
        <PasswordInput label="Token" placeholder="copg_…" value={token} onChange={(event) => setToken(event.currentTarget.value)} error={problem || undefined} autoComplete="current-password" spellCheck={false} autoFocus data-testid="token-input" errorProps={{ role: 'alert' }} visibilityToggleButtonProps={{ 'aria-label': 'Show the token' }} />
        <Button type="submit" fullWidth mt="md" loading={busy || inside} data-testid="login-button">Log in</Button>
        <p className="hint muted">No token? Whoever runs the studio makes one with <code>copg tokens create NAME</code>.</p>
      </form>
    </main>
  );
}
