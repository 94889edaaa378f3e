/** The order of a sweep's members. Pure. */
import type { SweepMember } from '../../api/client';
import { type Sort, STATES } from '../runs/select';

type Key = string | number | null;

function keyOf(member: SweepMember, column: string): Key {
  if (column.startsWith('field:')) {
    const found = member.overrides[column.slice(6)];
    return typeof found === 'number' ? found : found === undefined || found === null ? null : String(found);
  }
  switch (column) {
    case 'name': return member.run.name.toLowerCase();
    case 'state': return -STATES.indexOf(member.run.state);
    case 'progress': return member.run.total_steps ? member.run.step / member.run.total_steps : null;
    case 'reward': return member.final?.reward_mean ?? null;
    case 'kl': return member.final?.kl ?? null;
    default: return null;
  }
}

/** Sorted by a column; what has no value stands last in either direction, equal ones stay in the order of their making. */
export function sortMembers(members: readonly SweepMember[], sort: Sort): SweepMember[] {
  const sign = sort.descending ? -1 : 1;
  return members.toSorted((first, second) => {
    const a = keyOf(first, sort.key);
    const b = keyOf(second, sort.key);
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
    if (typeof a === typeof b) return a === b ? 0 : a < b ? -sign : sign;
    return typeof a === 'number' ? -sign : sign; // numbers before words
  });
}
