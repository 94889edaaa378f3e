/** Who is looking and what they may do: the server says so, the page only leaves out what it would refuse. */
import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { api, data } from './client';
import { finishNow } from './deleting';

export type Scope = 'read' | 'launch' | 'admin';

export const useSession = () => useQuery({ queryKey: ['session'], queryFn: () => data(api.GET('/api/v1/session')), staleTime: 60_000 });

/** Until the answer is there, nothing is left out: nearly always everything is allowed. */
export function useMay(scope: Scope): boolean {
  const { data: session } = useSession();
  return session === undefined || session.scopes.includes(scope);
}

export function May({ scope, children, otherwise = null }: { scope: Scope; children: ReactNode; otherwise?: ReactNode }) {
  return useMay(scope) ? children : otherwise;
}

/** Where to go after logging in: an address of this page and nothing else, whatever stands in the link. */
export function placeAfter(next: string | null, here: string): string {
  try {
    const place = new URL(next ?? '/', here);
    return place.origin === new URL(here).origin && place.pathname !== '/login' ? place.pathname + place.search + place.hash : '/';
  } catch {
    return '/';
  }
}

/** What waits to be deleted goes first: nobody would be there any more who may delete it. */
export async function logOut(): Promise<void> {
  await finishNow();
  await api.DELETE('/api/v1/session').catch(() => undefined);
  location.assign('/login'); // a whole load: nothing of what was shown stays in memory
}
