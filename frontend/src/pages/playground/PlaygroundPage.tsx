/** Type a prompt, and finished runs answer it side by side. The form is made from the request's schema; a worker writes. */
import { Button, MultiSelect, Select, Skeleton } from '@mantine/core';
import { IconPencil } from '@tabler/icons-react';
import { useMemo, useRef, useState } from 'react';
import { Link, useNavigate, useParams, useSearchParams } from 'react-router';
import { isLost, titleOf } from '../../api/attempt';
import { ApiError, isGone, messageOf, type Trial, type TrialRequest } from '../../api/client';
import { useModels } from '../../api/queries';
import { May } from '../../api/session';
import { fieldsOf, type JsonSchema, problemsByField, setAt } from '../../components/form/schema';
import { PlainForm } from '../../components/form/SchemaForm';
import { Ago } from '../../components/Ago';
import { Offers } from '../../components/offers';
import { Copy, Failure } from '../../components/parts';
import { usePageTitle } from '../../components/title';
import { useUnsaved } from '../../components/unsaved';
import { Answers } from './Answers';
import { promptOf, useTrial, useTrialForm, useTrials, useTry } from './queries';
import './playground.css';

const CHOSEN_HERE = new Set(['runs', 'reward_of']); // from the finished runs

export function PlaygroundPage() {
  const { id } = useParams();
  const form = useTrialForm();
  const trial = useTrial(id);
  const models = useModels();
  const ready = !form.isPending && !models.isPending && (id === undefined || !trial.isPending); // all at once: nothing moves down afterwards
  usePageTitle('Playground');
  return (
    <>
      <div className="head">
        <h1>Playground</h1>
        <span className="muted" style={{ fontSize: 13 }}>a prompt of your own, answered by finished runs with the same random numbers</span>
        {id && <div className="push"><Copy text={window.location.href} label="Copy link" group="Playground" /></div>}
      </div>
      {!ready ? <div className="playground" aria-busy="true"><Skeleton height={640} /></div> : <div className="playground">
        <div className="asking">
          {form.data ? <May scope="launch" otherwise={<p className="muted">Your token may only look: ask for one of scope launch to try prompts of your own.</p>}><Form key={id ?? 'new'} schema={form.data.request_schema as JsonSchema} before={trial.data} /></May>
            : <Failure title="The form cannot be shown" error={form.error} />}
          <Earlier now={id} />
        </div>
        <div className="answered">
          {id === undefined ? <section className="panel none muted">Choose finished runs, type a prompt, and what each of them writes stands here side by side, with its reward and its KL.</section>
            : <>{trial.isError && <Failure title="This trial cannot be shown" error={trial.error} />}{trial.data && !isGone(trial.error) && <Answers trial={trial.data} />}</>}
        </div>
      </div>}
    </>
  ); // prettier-ignore
}

function Form({ schema, before }: { schema: JsonSchema; before?: Trial }) {
  const [query] = useSearchParams();
  const navigate = useNavigate();
  const models = useModels();
  const fields = useMemo(() => fieldsOf(schema), [schema]);
  const [begun] = useState(() => startOf(schema, before, query));
  const [values, setValues] = useState(begun);
  const [problems, setProblems] = useState<ReadonlyMap<string, string[]>>(new Map());
  const [none, setNone] = useState<{ run: string; why: string } | null>(null);
  const runs = values.runs as string[];
  const letGo = useUnsaved(JSON.stringify(values) !== JSON.stringify(begun));
  const newest = useRef(values); // what was typed since it was sent is asked about
  newest.current = values;
  const asking = useTry((trial, asked) => { if (JSON.stringify(newest.current) === JSON.stringify(asked)) letGo(); void navigate(`/playground/${trial.id}`); });
  const change = (path: readonly string[], value: unknown): void => {
    setValues((now) => setAt(now, path, value));
    setProblems((now) => new Map([...now].filter(([one]) => one !== '' && one !== path[0])));
  };
  const send = (): void => asking.mutate(values as unknown as TrialRequest, {
    onError: (error) => setProblems(error instanceof ApiError && error.problem.errors.length ? problemsByField(error.problem.errors, fields, values) : new Map([['', [messageOf(error)]]])),
  });
  const fill = async (): Promise<void> => {
    const run = runs[0]!;
    try {
      const prompt = await promptOf(run);
      setNone(prompt === null ? { run, why: 'The first run has no prompts' } : null);
      if (prompt !== null) change(['prompt'], prompt);
    } catch (error) {
      setNone({ run, why: messageOf(error) });
    }
  };
  const titled = (name: string) => fields.find((field) => field.name === name)!;
  const finished = (models.data ?? []).filter((model) => model.kind === 'run' && model.role === 'policy' && model.run).map((model) => ({ value: model.run!, label: model.title, facts: model.description }));
  const known = new Map(finished.map((one) => [one.value, one.label]));
  const facts = new Map(finished.map((one) => [one.value, one.facts]));
  const renderOption = ({ option }: { option: { value: string; label: string } }) => <span className="option">{option.label}<span className="muted">{facts.get(option.value)}</span></span>;
  for (const run of [...runs, ...(values.reward_of ? [values.reward_of as string] : [])]) if (!known.has(run)) known.set(run, run);
  const options = [...known].map(([value, label]) => ({ value, label }));
  const wrong = (name: string) => problems.get(name)?.join(' ');
  const most = schema.properties?.runs?.maxItems;
  const offers = [
    { id: 'write', label: 'Let them write', act: () => { if (!asking.isPending) send(); } },
    ...(runs.length ? [{ id: 'prompt', label: 'Take a prompt of the first run', act: () => void fill() }] : []),
    ...(before ? [{ id: 'new', label: 'New prompt', act: () => void navigate('/playground') }] : []),
  ];
  return (
    <form className="panel box" onSubmit={(event) => { event.preventDefault(); send(); }} noValidate data-testid="trial-form">
      <Offers group="Playground" offers={offers} />
      {problems.has('') && <Failure title={isLost(asking.error) ? titleOf(asking.error) : 'Not asked'} error={new Error(problems.get('')!.join('\n'))} />}
      <MultiSelect label={titled('runs').title} description={titled('runs').description} searchable maxValues={most} data={options} renderOption={renderOption} value={runs} error={wrong('runs')} hidePickedOptions placeholder={runs.length ? undefined : finished.length ? 'Choose runs' : models.data ? 'No run has succeeded yet' : undefined} nothingFoundMessage="No finished run of this name" onChange={(next) => change(['runs'], next)} />
      <PlainForm fields={fields.filter((field) => !CHOSEN_HERE.has(field.name))} values={values} state={{ models: [], datasets: [], problems, change, below: (path) => (path[0] === 'prompt' ? <Button variant="subtle" size="compact-xs" disabled={runs.length === 0} onClick={() => void fill()}>{none?.run === runs[0] && none ? none.why : 'Take a prompt of the first run'}</Button> : null) }} />
      <Select label={titled('reward_of').title} description={titled('reward_of').description} clearable searchable data={options} renderOption={renderOption} value={(values.reward_of as string | null) ?? null} error={wrong('reward_of')} placeholder="not set" onChange={(next) => change(['reward_of'], next)} />
      <Button type="submit" loading={asking.isPending} leftSection={<IconPencil size={16} />} data-testid="try-button">Let them write</Button>
    </form>
  );
}

function Earlier({ now }: { now: string | undefined }) {
  const trials = useTrials();
  const items = trials.data?.pages.flatMap((page) => page.items) ?? [];
  if (items.length === 0) return null;
  return (
    <section className="panel earlier" aria-labelledby="earlier-title">
      <h2 id="earlier-title">Earlier</h2>
      <ol>{items.map((one) => <li key={one.id}><Link to={`/playground/${one.id}`} aria-current={one.id === now ? 'page' : undefined}>{one.prompt}</Link><span className="muted num">{one.runs} run{one.runs === 1 ? '' : 's'}, <Ago at={one.created_at} /></span></li>)}</ol>
      {trials.hasNextPage && <Button variant="subtle" size="compact-xs" loading={trials.isFetchingNextPage} onClick={() => void trials.fetchNextPage()}>More</Button>}
    </section>
  );
}

/** The schema's defaults, then what was asked before, or what stands in the address. */
function startOf(schema: JsonSchema, before: Trial | undefined, query: URLSearchParams): Record<string, unknown> {
  const defaults = Object.fromEntries(Object.entries(schema.properties ?? {}).flatMap(([name, one]) => (one.default === undefined ? [] : [[name, one.default]])));
  if (before) return { ...defaults, runs: before.answers.filter((one) => one.name !== null).map((one) => one.run), prompt: before.prompt, chat: before.chat, completions: before.completions, max_new_tokens: before.max_new_tokens, temperature: before.temperature, seed: before.seed, reward_of: before.reward_of };
  return { ...defaults, runs: query.getAll('run'), prompt: query.get('prompt') ?? '' };
}
