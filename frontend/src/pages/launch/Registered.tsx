/** The data sets that the studio knows already: choosing one fills in the fields below. */
import { Select } from '@mantine/core';
import { Link } from 'react-router';
import type { DataSet } from '../../api/client';

export function Registered({ datasets, source, choose }: { datasets: readonly DataSet[]; source: unknown; choose: (source: Record<string, unknown>) => void }) {
  const known = datasets.filter((one) => one.state !== 'unreadable');
  const same = (one: DataSet): boolean => Object.entries(one.source).every(([key, value]) => JSON.stringify((source as Record<string, unknown> | undefined)?.[key]) === JSON.stringify(value));
  const chosen = known.find(same);
  const key = (one: DataSet): string => one.id ?? 'task';
  return (
    <div style={{ display: 'flex', flexWrap: 'wrap', gap: '6px 14px', alignItems: 'end' }}>
      <Select size="sm" label="Data of this studio" placeholder="None of these" searchable style={{ flex: '1 1 240px', maxWidth: 460 }} data={known.map((one) => ({ value: key(one), label: one.name }))} value={chosen ? key(chosen) : null} onChange={(value) => { const one = known.find((each) => key(each) === value); if (one) choose(one.source); }} data-testid="registered" />
      <Link to="/data" style={{ fontSize: 13, paddingBottom: 8 }}>Upload a file</Link>
    </div>
  );
}
