/** What the page that is open can do, for the command palette: a page draws `<Offers>` among its buttons, and takes it back with them. */
import { useEffect, useRef, useSyncExternalStore } from 'react';

/** `rare`: one of many, found by its words alone. */
export interface Offer { id: string; label: string; act: () => void; rare?: boolean }
interface Offered { group: string; offers: readonly Offer[] }

const pages = new Map<object, Offered>();
const listeners = new Set<() => void>();
let seen: (Offer & { group: string })[] = [];

function tell(): void {
  seen = [...pages].flatMap(([page, { group, offers }]) => offers.map(({ id, label, rare }) => ({
    id: `${group}: ${id}`, group, label, rare,
    act: () => pages.get(page)?.offers.find((one) => one.id === id)?.act(), // as the page means it by then, if it still offers it
  })));
  listeners.forEach((listener) => listener());
}

const listen = (listener: () => void): (() => void) => { listeners.add(listener); return () => listeners.delete(listener); };

/** What is offered at this moment, page after page. */
export const useOffered = () => useSyncExternalStore(listen, () => seen);

export function Offers({ group, offers }: Offered) {
  const page = useRef({}).current;
  const what = `${group}\n${offers.map(({ id, label }) => `${id} ${label}`).join('\n')}`;
  useEffect(() => { pages.set(page, { group, offers }); });
  useEffect(() => { tell(); return () => { pages.delete(page); tell(); }; }, [page]);
  useEffect(tell, [what]);
  return null;
}
