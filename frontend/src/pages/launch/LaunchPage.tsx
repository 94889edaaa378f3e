/** Choose an algorithm, fill in its form (the paper's settings stand in it), launch. */
import { Button, SegmentedControl, Skeleton, TextInput } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { IconRocket } from '@tabler/icons-react';
import { type ReactNode, useEffect, useMemo, useRef, useState } from 'react';
import { useNavigate, useSearchParams } from 'react-router';
import { AGAIN, isLost, titleOf, useAttempt } from '../../api/attempt';
import { type Algorithm, api, ApiError, data, type DataSetDetail, messageOf, type RunDetail } from '../../api/client';
import { useAlgorithms, useDataset, useDatasets, useModels, useRun } from '../../api/queries';
import { useAddress } from '../../components/address';
import { type Field, fieldsOf, type JsonSchema, problemsByField, setAt } from '../../components/form/schema';
import { idOf, SchemaForm } from '../../components/form/SchemaForm';
import { algorithmStyle, Copy, Failure } from '../../components/parts';
import { usePageTitle } from '../../components/title';
import { another, useUnsaved } from '../../components/unsaved';
import { Estimate } from './Estimate';
import { Preview } from './Preview';
import { askedBy, Scheduling } from './Scheduling';
import { firstDraft, type SweepDraft, SweepPanel } from './SweepPanel';
import { problemsOf, sweepRequest } from './varying';
import { Registered } from './Registered';

export function LaunchPage() {
  usePageTitle('Launch');
  const [query] = useSearchParams();
  const from = query.get('from');
  const algorithms = useAlgorithms();
  if (algorithms.isError && !algorithms.data) return <Failure title="The forms cannot be shown" error={algorithms.error} />;
  if (!algorithms.data) return <div style={{ display: 'grid', gap: 14 }} aria-busy="true"><Skeleton height={36} width={200} /><Skeleton height={90} /><Skeleton height={400} /></div>;
  const chosen = query.get('data');
  if (from) return <Cloned key={from} from={from} algorithms={algorithms.data} />;
  return chosen ? <WithData key={chosen} chosen={chosen} algorithms={algorithms.data} /> : <Form algorithms={algorithms.data} />;
}

function WithData({ chosen, algorithms }: { chosen: string; algorithms: Algorithm[] }) {
  return <Beside asked={useDataset(chosen)} title="The data set cannot be read">{(set) => <Form algorithms={algorithms} set={set} />}</Beside>;
}

function Cloned({ from, algorithms }: { from: string; algorithms: Algorithm[] }) {
  return <Beside asked={useRun(from)} title="The run to clone cannot be read">{(origin) => <Form algorithms={algorithms} origin={origin} />}</Beside>;
}

/** The form begins with the first answer and stays, with all that was typed, whatever becomes of what it began with: what fails later
 * is said above it, and what is found later does not begin it anew. */
function Beside<T>({ asked, title, children }: { asked: { data: T | undefined; isError: boolean; error: unknown }; title: string; children: (found: T | undefined) => ReactNode }) {
  const first = useRef<{ found: T | undefined }>(undefined);
  if (asked.data !== undefined || asked.isError) first.current ??= { found: asked.data };
  const began = first.current;
  if (!began) return <Skeleton height={500} />;
  const late = began.found === undefined && asked.data !== undefined && 'It can be read now: load this page again to begin with it.';
  return <>{(asked.isError || began.found === undefined) && <Failure title={title} error={late || (asked.error ?? 'It is being asked for again.')} />}{children(began.found)}</>;
}

function Form({ algorithms, origin, set }: { algorithms: Algorithm[]; origin?: RunDetail; set?: DataSetDetail }) {
  const [query, address] = useAddress();
  const navigate = useNavigate();
  const client = useQueryClient();
  const models = useModels();
  const datasets = useDatasets().data?.items ?? [];
  const wanted = query.get('algorithm') ?? origin?.algorithm ?? 'copg';
  const algorithm = algorithms.find((one) => one.algorithm === wanted) ?? algorithms.find((one) => one.algorithm === 'copg') ?? algorithms[0]!;
  const [begun] = useState(() => startOf(algorithms, origin, set));
  const [drafts, setDrafts] = useState(begun);
  const [name, setName] = useState('');
  const [toAsk] = useState(() => askedBy(origin));
  const [asked, setAsked] = useState(toAsk);
  const [problems, setProblems] = useState<ReadonlyMap<string, string[]>>(new Map());
  const config = drafts[algorithm.algorithm] ?? algorithm.defaults;
  const fields = useMemo(() => fieldsOf(algorithm.config_schema as JsonSchema), [algorithm]);
  const sweeping = query.get('mode') === 'sweep';
  const [sweepDrafts, setSweepDrafts] = useState<Record<string, SweepDraft>>({});
  const draft = sweepDrafts[algorithm.algorithm] ?? firstDraft(algorithm.defaults);
  const others = algorithms.filter((one) => draft.others.includes(one.algorithm));
  const letGo = useUnsaved(differs(algorithms, begun, drafts) || name.trim() !== '' || !same(asked, toAsk) || algorithms.some((one) => !same(sweepDrafts[one.algorithm] ?? firstDraft(one.defaults), firstDraft(one.defaults))), otherBeginning);
  const request = sweepRequest({ config, others, varied: draft.varied, name, earlyStop: draft.earlyStop, schedule: asked });

  const attempt = useAttempt();
  const [wrong, setWrong] = useState(''); // the kind of failure
  const launchRun = () => {
    const body = { config, ...asked, ...(name.trim() ? { name: name.trim() } : {}) };
    return attempt(body, (header) => data(api.POST('/api/v1/runs', { params: { header }, body: body as never })));
  };
  const launch = useMutation({
    mutationFn: async () => {
      if (!sweeping) return { run: await launchRun(), sweep: null };
      return { run: null, sweep: await attempt(request, (header) => data(api.POST('/api/v1/sweeps', { params: { header }, body: request as never }))) };
    },
    onSuccess: ({ run, sweep }) => {
      if (run) client.setQueryData(['run', run.id], run);
      if (sweep) client.setQueryData(['sweep', sweep.id], sweep);
      void client.invalidateQueries({ queryKey: ['runs'] });
      void client.invalidateQueries({ queryKey: ['sweeps'] });
      letGo();
      void navigate(run ? `/runs/${run.id}` : `/sweeps/${sweep!.id}`);
    },
    onError: (error) => {
      setWrong(titleOf(error));
      if (error instanceof ApiError && error.problem.errors.length) setProblems(problemsByField(sweeping ? problemsOf(error.problem.errors).rest : error.problem.errors, fields, config));
      else setProblems(new Map([['', isLost(error) ? [messageOf(error), AGAIN] : [messageOf(error)]]]));
      notifications.show({ color: 'red', message: isLost(error) ? `${titleOf(error)}: see the form.` : 'Not launched: see what is marked in the form.', autoClose: 4000 });
    },
  });

  // Focus moves to the first wrong field in the order of the page, once its section is open.
  useEffect(() => {
    if (problems.size === 0) return;
    const timer = setTimeout(() => {
      const ids = new Set([...problems.keys()].map((path) => (path === '' ? 'form-problem' : idOf(path))));
      const first = [...document.querySelectorAll<HTMLElement>('[id]')].find((element) => ids.has(element.id));
      const target = first?.matches('input, textarea, select, button, [tabindex]') ? first : first?.querySelector<HTMLElement>('input');
      target?.focus({ preventScroll: true });
      first?.scrollIntoView({ block: 'center', behavior: 'smooth' });
    }, 60);
    return () => clearTimeout(timer);
  }, [problems]);

  const change = (path: readonly string[], value: unknown): void => {
    setDrafts((before) => ({ ...before, [algorithm.algorithm]: setAt(before[algorithm.algorithm] ?? algorithm.defaults, path, value) }));
    const key = path.join('.');
    if ([...problems.keys()].some((one) => one === key || one.startsWith(`${key}.`) || one === '')) setProblems((before) => new Map([...before].filter(([one]) => one !== key && one !== '' && !one.startsWith(`${key}.`))));
  };
  const json = JSON.stringify(config, null, 2);
  const source = config.data as { kind?: string } | undefined;
  const preview = <Preview source={config.data} algorithm={algorithm.algorithm} sampling={config.sampling} />;
  const general = problems.get('');
  return (
    <form onSubmit={(event) => { event.preventDefault(); launch.mutate(); }} noValidate>
      <div className="head"><h1>Launch a {sweeping ? 'sweep' : 'run'}</h1>{origin && <span className="muted" style={{ fontSize: 13 }}>with the settings of “{origin.name}”</span>}</div>
      <div className="choice" role="radiogroup" aria-label="Algorithm">
        {algorithms.map((one) => (
          <label className="panel" key={one.algorithm} style={algorithmStyle(one.algorithm)}>
            <input type="radio" name="algorithm" value={one.algorithm} checked={one === algorithm} data-testid={`algorithm-${one.algorithm}`} onChange={() => { setProblems(new Map()); address({ algorithm: one.algorithm }); }} />
            <b><i style={{ width: 10, height: 10, borderRadius: 3, background: 'var(--chip)' }} />{one.title}</b>
            <span>{one.description.replaceAll('\n', ' ')}</span>
          </label>
        ))}
      </div>
      {general && <div id="form-problem" tabIndex={-1}><Failure title={wrong} error={general.join('\n')} /></div>}
      <div className="launch">
        <div>
          <SchemaForm key={algorithm.algorithm} fields={fields} values={config} state={{ models: models.data ?? [], datasets, problems, change, above: (path) => (path.join('.') === 'data' ? <Registered datasets={datasets} source={config.data} choose={(next) => change(['data'], filled(fields, next))} /> : null), below: (path) => (path.join('.') === (source?.kind === 'file' ? 'data.path' : 'data.id') ? preview : null) }} />
        </div>
        <aside className={sweeping ? 'aside tall' : 'aside'}>
          <section className="panel box" style={{ display: 'grid', gap: 12 }}>
            <SegmentedControl fullWidth size="xs" aria-label="How many runs" data-testid="launch-mode" value={sweeping ? 'sweep' : 'run'} data={[{ value: 'run', label: 'One run' }, { value: 'sweep', label: 'Sweep' }]} onChange={(mode) => { setProblems(new Map()); address({ mode: mode === 'sweep' ? mode : null }); }} />
            <TextInput label="Name" placeholder={sweeping ? 'Made from what varies' : 'Made from algorithm and beta'} maxLength={200} value={name} onChange={(event) => setName(event.currentTarget.value)} />
            <Button type="submit" loading={launch.isPending} leftSection={<IconRocket size={16} />} data-testid="launch-button">Launch {sweeping ? 'the sweep' : algorithm.title}</Button>
            <Button variant="subtle" color="gray" size="xs" onClick={() => { setProblems(new Map()); setDrafts((before) => ({ ...before, [algorithm.algorithm]: structuredClone(algorithm.defaults) })); }}>Back to the paper’s settings</Button>
          </section>
          {sweeping && <SweepPanel draft={draft} change={(next) => setSweepDrafts((before) => ({ ...before, [algorithm.algorithm]: next }))} fields={fields} config={config} algorithm={algorithm} algorithms={algorithms} request={request} />}
          <Scheduling asked={asked} many={sweeping} change={setAsked} />
          <Estimate config={config} gpus={asked.gpus} />
          <details className="panel">
            <summary style={{ padding: '12px 16px', cursor: 'pointer', fontWeight: 600, fontSize: 14 }}>Configuration as JSON</summary>
            <div style={{ padding: '0 14px 8px' }}><Copy text={json} /></div>
            <pre className="json" style={{ borderTop: '1px solid var(--c-border)' }} tabIndex={0} aria-label="Configuration as JSON">{json}</pre>
          </details>
        </aside>
      </div>
    </form>
  );
}

type Drafts = Record<string, Record<string, unknown>>;
const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);
const differs = (algorithms: Algorithm[], begun: Drafts, drafts: Drafts): boolean =>
  algorithms.some(({ algorithm, defaults }) => !same(drafts[algorithm] ?? defaults, begun[algorithm] ?? defaults));
/** The page keeps its form until it begins with something else. */
const otherBeginning: typeof another = (from, to) => another(from, to) || ['from', 'data'].some((key) => new URLSearchParams(from.search).get(key) !== new URLSearchParams(to.search).get(key));

/** A data set's source with the defaults of its kind, so that the form shows what will be used. */
function filled(fields: readonly Field[], source: Record<string, unknown>): Record<string, unknown> {
  const data = fields.find((one) => one.name === 'data');
  const option = data?.kind === 'union' ? data.options.find((one) => one.value === source.kind) : undefined;
  return structuredClone({ ...option?.initial, ...source });
}

/** What the forms begin with: the run that is cloned, or the chosen data in the settings of every algorithm. */
function startOf(algorithms: Algorithm[], origin: RunDetail | undefined, set: DataSetDetail | undefined): Drafts {
  if (origin) return { [origin.algorithm]: origin.config };
  if (!set) return {};
  return Object.fromEntries(algorithms.map((one) => {
    const data = filled(fieldsOf(one.config_schema as JsonSchema), set.source);
    const reward = one.defaults.reward as { kind?: string } | null | undefined;
    // The gold reward belongs to the built-in task; a file brings its own.
    return [one.algorithm, { ...one.defaults, data, ...(reward?.kind === 'gold' && data.kind !== 'task' ? { reward: { kind: 'data' } } : {}) }];
  }));
}
