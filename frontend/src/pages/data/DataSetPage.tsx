/** One data set: how it was understood, what is in it, what is odd about it, and what to do with it. */
import { Button, Modal, Skeleton, Text } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { IconPlayerStop, IconRefresh, IconRocket, IconTrash } from '@tabler/icons-react';
import { type ReactNode, useState } from 'react';
import { Link, useNavigate, useParams } from 'react-router';
import { dropFrom } from '../../api/cache';
import { api, data, type DataSetDetail, type DataSetList, type RowTokens } from '../../api/client';
import { useDeleting } from '../../api/deleting';
import { useDataset } from '../../api/queries';
import { May } from '../../api/session';
import { Offers } from '../../components/offers';
import { Copy, Failure, StateChip } from '../../components/parts';
import { useDelete } from '../../components/undo';
import { bytes, moment } from '../../format';
import { usePageTitle } from '../../components/title';
import { Columns } from './Columns';
import './data.css';
import { DataFigure } from './DataFigure';
import { Findings, Rows, Splits } from './Report';
import { DataState, stateOf } from './state';
import { Overlap, Truncation } from './tools';

export function DataSetPage() {
  const { id = '' } = useParams();
  const { data: set, error, isError } = useDataset(id);
  const deleting = useDeleting().has(id);
  usePageTitle(set?.name);
  if (isError && !set) return <Failure title="This data set cannot be shown" error={error}><p><Link to="/data">All data</Link></p></Failure>;
  if (!set) return <div style={{ display: 'grid', gap: 16 }} aria-busy="true"><Skeleton height={36} width="40%" /><Skeleton height={62} /><Skeleton height={420} /></div>;
  const isFile = set.source.kind === 'file' || set.source.kind === 'upload';
  return (
    <>
      <div className="head">
        <h1 className="cut" title={set.name} style={{ maxWidth: 'min(80vw, 640px)' }}>{set.name}</h1>
        <span data-testid="data-state" data-state={set.state}><DataState set={set} /></span>
        <span className="sr" role="status">{stateOf(set)}</span>
        {!set.deleted_at && !deleting && <Actions set={set} isFile={isFile} />}
      </div>
      {isError && <Failure title="What is shown here could not be refreshed" error={error} />}
      {set.deleted_at && <section className="panel box" style={{ marginBottom: 14 }}><p className="note"><b>Deleted {moment(set.deleted_at)}.</b> Its record stays because runs refer to it. The same file, uploaded again, can be told by its hash: <code>sha256 {set.content_hash}</code></p></section>}
      {set.state === 'unreadable' && <Failure title="This file cannot be read as it is" error={set.error}><p className="muted" style={{ marginTop: 6 }}>Say below how its columns are meant, or mend the file and upload it again.</p></Failure>}
      <Facts set={set} />
      <div className="blocks">
        {set.source.kind === 'hub' && <section className="panel box"><p className="note"><b>A data set of the hub is read when a run starts</b>, on the machine of its worker: there is no preview of it here, and no report. Whether its columns are understood the run says in its first seconds.</p></section>}
        {isFile && !set.report && set.state === 'ready' && !set.deleted_at && <section className="panel box"><p className="note">Nobody has looked at all of this file yet. Runs can use it; <b>Analyse</b> counts its rows, lengths and duplicates.</p></section>}
        {set.state === 'analysing' && <div aria-busy="true" style={{ display: 'grid', gap: 14 }}><Skeleton height={120} /><Skeleton height={250} /></div>}
        {set.report && <Whole key={`${set.id} ${JSON.stringify(set.report.mapping)}`} set={set} />}
        {isFile && !set.report && set.state === 'unreadable' && <div className="cols"><May scope="launch"><Columns key={JSON.stringify(set.source)} set={set} /></May></div>}
        {set.used_by.length > 0 && (
          <section className="panel box"><h2>Runs that read it</h2>
            <ul className="list" style={{ gap: 0, justifyItems: 'stretch' }}>{set.used_by.map((run) => <li key={run.id}><Link to={`/runs/${run.id}`}>{run.name}</Link><span className="push"><StateChip state={run.state} /></span></li>)}</ul>
          </section>
        )}
      </div>
    </>
  );
}

function Whole({ set }: { set: DataSetDetail }) {
  const report = set.report!;
  const [tokens, setTokens] = useState<readonly RowTokens[]>([]);
  return (
    <>
      {report.stopped && <section className="panel box"><p className="note"><b>This is the beginning of the file:</b> the look at it ended {report.stopped}. Shares and spreads are those of that part.</p></section>}
      <div className="cols">
        <Findings report={report} />
        {report.splits && <Splits report={report} />}
        {!set.deleted_at && <May scope="launch"><Columns key={JSON.stringify(set.source)} set={set} /></May>}
      </div>
      <div className="figures">{set.figures.map((name) => <DataFigure key={name} id={set.id!} name={name} version={`${set.state} ${set.revision}`} />)}</div>
      {!set.deleted_at && <div className="cols"><Truncation set={set} counted={setTokens} /><Overlap set={set} /></div>}
      <Rows report={report} tokens={tokens} />
    </>
  );
}

function Facts({ set }: { set: DataSetDetail }) {
  const facts: [string, ReactNode][] = [['Rows', set.rows === null ? set.report ? `${set.report.rows.toLocaleString('en-GB')} and more` : '–' : set.rows.toLocaleString('en-GB')]];
  if (set.report) facts.push(['Usable', set.report.usable.toLocaleString('en-GB')]);
  if (set.bytes !== null && set.bytes !== undefined) facts.push(['Size', bytes(set.bytes)]);
  facts.push(['Added', moment(set.created_at)]);
  if (set.content_hash) facts.push(['Content', <span style={{ display: 'flex', gap: 8, alignItems: 'center' }}><code title={set.content_hash}>{set.content_hash.slice(0, 12)}…</code><Copy text={set.content_hash} label="Copy sha256" /></span>]);
  return <dl className="panel stats" style={{ marginTop: 0 }}>{facts.map(([name, value]) => <div className="stat" key={name}><dt>{name}</dt><dd style={{ fontSize: 14 }}>{value}</dd></div>)}</dl>;
}

function Actions({ set, isFile }: { set: DataSetDetail; isFile: boolean }) {
  const [asking, setAsking] = useState(false);
  const client = useQueryClient();
  const navigate = useNavigate();
  const params = { params: { path: { dataset_id: set.id! } } };
  const changed = (answer: DataSetDetail): void => { client.setQueryData(['dataset', set.id], answer); void client.invalidateQueries({ queryKey: ['datasets'] }); };
  const analyse = useMutation({ mutationFn: () => data(api.POST('/api/v1/datasets/{dataset_id}/analyse', params)), onSuccess: changed });
  const stop = useMutation({ mutationFn: () => data(api.POST('/api/v1/datasets/{dataset_id}/stop', params)), onSuccess: changed });
  const remove = useDelete({
    what: set.name,
    id: set.id!,
    path: `/api/v1/datasets/${set.id}`,
    send: (rehearsed) => api.DELETE('/api/v1/datasets/{dataset_id}', { params: { ...params.params, query: { dry_run: rehearsed } } }),
    forget: () => {
      client.removeQueries({ queryKey: ['dataset', set.id] });
      return dropFrom<DataSetList>(client, ['datasets'], (list) => ({ ...list, items: list.items.filter((one) => one.id !== set.id) }));
    },
  }, { then: () => void navigate('/data'), settled: () => setAsking(false) });
  const algorithm = set.report && !set.report.pairs ? 'sft' : 'copg';
  const used = `/launch?algorithm=${algorithm}&data=${set.id}`;
  const ask = (): void => setAsking(true);
  const offers = [
    ...(set.state === 'unreadable' ? [] : [{ id: 'use', label: 'Use in a run', act: () => void navigate(used) }]),
    ...(!isFile ? [] : set.state === 'analysing' ? [{ id: 'stop', label: 'Stop the analysis', act: () => { if (!stop.isPending) stop.mutate(); } }] : [{ id: 'analyse', label: set.report ? 'Analyse again' : 'Analyse', act: () => { if (!analyse.isPending) analyse.mutate(); } }]),
    { id: 'delete', label: 'Delete', act: ask },
  ];
  return (
    <May scope="launch">
      <Offers group="This data set" offers={offers} />
      <div className="push" style={{ display: 'flex', gap: 8, flexWrap: 'wrap' }}>
        {set.state !== 'unreadable' && <Button component={Link} to={used} size="xs" leftSection={<IconRocket size={14} />} data-testid="use-button">Use in a run</Button>}
        {isFile && (set.state === 'analysing' ? <Button size="xs" variant="default" leftSection={<IconPlayerStop size={14} />} loading={stop.isPending} onClick={() => stop.mutate()}>Stop</Button> : <Button size="xs" variant="default" leftSection={<IconRefresh size={14} />} loading={analyse.isPending} onClick={() => analyse.mutate()}>{set.report ? 'Analyse again' : 'Analyse'}</Button>)}
        <Button size="xs" variant="default" leftSection={<IconTrash size={14} />} onClick={ask} data-testid="delete-data">Delete</Button>
      </div>
      <Modal opened={asking} onClose={() => setAsking(false)} title={`Delete “${set.name}”?`}>
        <Text size="sm">{set.file_name ? 'The file is removed. Runs that have read it keep its name and hash.' : 'The studio forgets it; the data itself is not touched.'} For a few seconds it can be taken back.</Text>
        <div style={{ display: 'flex', justifyContent: 'flex-end', gap: 8, marginTop: 18 }}><Button variant="default" onClick={() => setAsking(false)}>Keep it</Button><Button color="red.8" loading={remove.isPending} data-autofocus onClick={() => remove.mutate()} data-testid="confirm-delete">Delete</Button></div>
      </Modal>
    </May>
  );
}
