/** What the page that is open can do, for the command palette: a page draws `<Offers>` among its buttons, and takes it back with them. */
import { useEffect, useRef } from 'react';

export interface Offer { id: string; label: string; act: () => void }
interface Offered { group: string; offers: readonly Offer[] }

const pages = new Set<{ current: Offered }>();

/** What is offered at this moment, page after page. */
export const offered = (): (Offer & { group: string })[] => [...pages].flatMap(({ current: { group, offers } }) => offers.map(({ id, label, act }) => ({ id: `${group}: ${id}`, group, label, act })));

export function Offers(given: Offered) {
  const now = useRef(given);
  now.current = given;
  useEffect(() => { pages.add(now); return () => { pages.delete(now); }; }, []);
  return null;
}
