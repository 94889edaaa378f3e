/** Every data set of the studio, and the way in for new ones. */
import { Skeleton } from '@mantine/core';
import { Link } from 'react-router';
import type { DataSet } from '../../api/client';
import { useDatasets } from '../../api/queries';
import { May } from '../../api/session';
import { Ago } from '../../components/Ago';
import { Failure } from '../../components/parts';
import { bytes, number } from '../../format';
import { usePageTitle } from '../../components/title';
import './data.css';
import { DataState } from './state';
import { Uploads } from './Uploads';

export function DataPage() {
  const datasets = useDatasets();
  usePageTitle('Data');
  const items = datasets.data?.items;
  return (
    <>
      <div className="head"><h1>Data</h1></div>
      <May scope="launch"><Uploads limit={datasets.data?.upload_max_bytes} /></May>
      {datasets.isError && <Failure title={items ? 'This list could not be refreshed' : 'The data sets cannot be listed'} error={datasets.error} />}
      {!items ? !datasets.isError && <Skeleton height={180} /> : (
        <section className="panel sets" aria-label="Data sets">
          <div className="set titles" aria-hidden><span>Name</span><span>Understood as</span><span className="n">Rows</span><span className="n">Size</span><span className="n">Runs</span><span className="n">Added</span></div>
          {items.map((one) => <Row key={one.id ?? 'task'} one={one} />)}
          {items.length === 1 && <p className="nothing">Nothing has been uploaded yet. Your first file appears here with its rows counted, its duplicates found and its columns understood.</p>}
        </section>
      )}
    </>
  );
}

function Row({ one }: { one: DataSet }) {
  return (
    <div className="set" data-dataset={one.id ?? 'task'}>
      <span className="title cut">{one.id ? <Link to={`/data/${one.id}`}>{one.name}</Link> : one.name}</span>
      <span className="cut shape"><DataState set={one} /></span>
      <span className="n num" data-label="Rows">{one.rows === null ? '–' : one.rows.toLocaleString('en-GB')}</span>
      <span className="n num" data-label="Size">{one.bytes === null || one.bytes === undefined ? '–' : bytes(one.bytes)}</span>
      <span className="n num" data-label="Runs">{one.id && one.file_name ? number(one.runs ?? 0) : '–'}</span>
      <span className="n muted num" data-label="Added">{one.created_at ? <Ago at={one.created_at} /> : 'built in'}</span>
    </div>
  );
}
