/** How long ago something was, which goes on although nothing else happens on the page. */
import { useSyncExternalStore } from 'react';
import { ago } from '../format';
import { ticks } from './ticks';

export function Ago({ at }: { at: string | null | undefined }) {
  useSyncExternalStore(ticks.subscribe, ticks.count);
  return <>{ago(at)}</>;
}
