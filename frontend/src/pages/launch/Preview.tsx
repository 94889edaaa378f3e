/** How a data source is understood, before anything is queued. */
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { IconEye } from '@tabler/icons-react';
import { useState } from 'react';
import { api, ApiError, data, messageOf, type Preview as Answer } from '../../api/client';
import { number } from '../../format';

export function Preview({ source, algorithm, sampling }: { source: unknown; algorithm: string; sampling?: unknown }) {
  const key = JSON.stringify([source, algorithm, sampling]);
  const [asked, ask] = useState('');
  if (asked && asked !== key) ask(''); // rows of another source are not shown, and read anew when somebody says so
  const preview = useQuery({
    queryKey: ['preview', key], enabled: asked === key, gcTime: 0, staleTime: 0, retry: false, refetchOnWindowFocus: false,
    queryFn: () => data(api.POST('/api/v1/datasets/preview', { body: { source, algorithm, sampling, rows: 5 } as never })) as Promise<Answer>,
  }); // prettier-ignore
  const seen = preview.data;
  const columns = seen ? (['prompt', 'completion', 'completion_1', 'completion_2', 'reward_1', 'reward_2'] as const).filter((name) => seen.rows.some((row) => row[name] !== null && row[name] !== undefined)) : [];
  return (
    <div style={{ marginTop: 12 }}>
      <Button size="xs" variant="default" leftSection={<IconEye size={14} />} loading={preview.isFetching} onClick={() => (asked === key ? void preview.refetch() : ask(key))} data-testid="preview-button">Preview the rows</Button>
      {preview.isError && <div className="alert" role="alert" style={{ margin: '10px 0 0' }} data-testid="preview-error"><strong>{seen ? 'It could not be read anew: these rows were read before' : 'This data cannot be read'}</strong><p>{preview.error instanceof ApiError && preview.error.problem.errors.length ? preview.error.problem.errors.map((one) => one.message).join('\n') : messageOf(preview.error)}</p></div>}
      {seen && (
        <div style={{ marginTop: 10, border: '1px solid var(--c-border)', borderRadius: 9, overflow: 'auto', maxHeight: 380 }} data-testid="preview" tabIndex={0} role="region" aria-label="Preview">
          <p style={{ margin: 0, padding: '9px 12px', fontSize: 13, borderBottom: '1px solid var(--c-grid)' }}>
            Read as <b>{seen.shape}</b>{seen.counted_rows !== null && <>, {number(seen.counted_rows)} rows</>}. {Object.entries(seen.mapping).map(([role, column]) => <span key={role} className="muted">{role} ← <code>{column}</code>{'  '}</span>)}
          </p>
          <table className="samples"><thead><tr>{columns.map((name) => <th key={name}>{name}</th>)}</tr></thead>
            <tbody>{seen.rows.map((row, index) => <tr key={index}>{columns.map((name) => <td key={name} className={typeof row[name] === 'number' ? 'n' : 'text'}>{typeof row[name] === 'number' ? number(row[name]) : <span className="clip">{row[name]}</span>}</td>)}</tr>)}</tbody>
          </table>
        </div>
      )}
    </div>
  );
}
