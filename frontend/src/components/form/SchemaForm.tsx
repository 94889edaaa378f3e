/** A form for any configuration, from its JSON Schema alone. The server is the only validator. */
import { Button, CloseButton, JsonInput, SegmentedControl, Select, Switch, TagsInput, Textarea, TextInput } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { IconChevronRight, IconPlus } from '@tabler/icons-react';
import { createContext, type ReactNode, useContext, useEffect, useState } from 'react';
import type { DataSet, Model } from '../../api/client';
import { number, words } from '../../format';
import { type Field, parseJson, parseNumber, type Path } from './schema';

export interface FormState {
  models: readonly Model[];
  datasets: readonly DataSet[];
  problems: ReadonlyMap<string, string[]>;
  change(path: Path, value: unknown): void;
  /** What a page adds below a field, for example the preview of a data set. */
  below?(path: Path): ReactNode;
  /** What a page adds above the choice of a section, for example the data sets that are registered. */
  above?(path: Path): ReactNode;
}

const Context = createContext<FormState | null>(null);
export const idOf = (path: Path | string): string => `field-${(typeof path === 'string' ? path.split('.') : path).join('-')}`;

function useField(path: Path) {
  const form = useContext(Context)!;
  const messages = form.problems.get(path.join('.'));
  const error = messages && <span data-testid={`error-${path.join('.')}`}>{messages.join(' ')}</span>;
  return { form, error, set: (value: unknown) => form.change(path, value) };
}

export function SchemaForm({ fields, values, state }: { fields: readonly Field[]; values: Record<string, unknown>; state: FormState }) {
  const sections = fields.filter((field) => field.kind === 'object' || field.kind === 'union');
  // Beta is what one plays with: it stands first.
  const loose = fields.filter((field) => field.kind !== 'object' && field.kind !== 'union' && field.kind !== 'const').toSorted((a, b) => Number(b.name === 'beta') - Number(a.name === 'beta'));
  const unions = sections.filter((field) => field.kind === 'union');
  const objects = sections.filter((field) => field.kind === 'object');
  return (
    <Context value={state}>
      {unions.map((field) => <Section key={field.name} field={field} value={values[field.name]} open><Union field={field} path={[field.name]} value={values[field.name]} /></Section>)}
      <Section field={{ name: '', title: 'Training', description: '', nullable: false, kind: 'object', fields: loose }} value={values} open><Fields fields={loose} path={[]} value={values} /></Section>
      {objects.map((field) => <Section key={field.name} field={field} value={values[field.name]}><Fields fields={field.kind === 'object' ? field.fields : []} path={[field.name]} value={values[field.name]} /></Section>)}
    </Context>
  );
}

/** The same fields one below the other, for a form that needs no sections. */
export function PlainForm({ fields, values, state }: { fields: readonly Field[]; values: Record<string, unknown>; state: FormState }) {
  return <Context value={state}><Fields fields={fields} path={[]} value={values} /></Context>;
}

function Section({ field, value, open: first = false, children }: { field: Field; value: unknown; open?: boolean; children: ReactNode }) {
  const { problems } = useContext(Context)!;
  const [open, setOpen] = useState(first);
  const wrong = field.name !== '' && [...problems.keys()].some((path) => path === field.name || path.startsWith(`${field.name}.`));
  useEffect(() => { if (wrong) setOpen(true); }, [wrong, problems]);
  return (
    <details className="panel section" open={open} onToggle={(event) => setOpen(event.currentTarget.open)} data-section={field.name || 'training'}>
      <summary><IconChevronRight size={16} aria-hidden />{field.title}{wrong && <span style={{ color: 'var(--c-danger)', fontSize: 12, fontWeight: 500 }}>to be corrected</span>}<span className="cut num">{summary(field, value)}</span></summary>
      <div className="body">{children}</div>
    </details>
  );
}

/** What a closed section holds, in a few words. */
function summary(field: Field, value: unknown): string {
  if (field.kind !== 'object' || typeof value !== 'object' || value === null) return '';
  const values = value as Record<string, unknown>;
  return field.fields.filter((one) => one.kind !== 'object' && values[one.name] !== null && values[one.name] !== undefined).slice(0, 4)
    .map((one) => { const own = values[one.name]; return `${one.title} ${typeof own === 'boolean' ? (own ? 'on' : 'off') : typeof own === 'number' ? number(own) : String(own)}`; }).join(' · ');
}

function Fields({ fields, path, value }: { fields: readonly Field[]; path: Path; value: unknown }) {
  const values = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const first = fields.filter((field) => field.kind !== 'json' && field.kind !== 'const');
  const raw = fields.filter((field) => field.kind === 'json');
  return <div className="fields">{[...first, ...raw].map((field) => <One key={field.name} field={field} path={[...path, field.name]} value={values[field.name]} />)}</div>;
}

function One({ field, path, value }: { field: Field; path: Path; value: unknown }) {
  const { form, error, set } = useField(path);
  const id = idOf(path);
  const common = { id, label: field.title, description: field.description || undefined, error, inputWrapperOrder: ['label', 'input', 'error', 'description'] as ('label' | 'input' | 'error' | 'description')[] };
  const empty = field.nullable ? 'not set' : undefined;
  switch (field.kind) {
    case 'object':
      return <fieldset className="full" style={{ border: 0, borderTop: '1px solid var(--c-grid)', margin: 0, padding: '10px 0 0' }}><legend style={{ fontWeight: 600, fontSize: 13, paddingRight: 8 }}>{field.title}</legend><Fields fields={field.fields} path={path} value={value} /></fieldset>;
    case 'union': return <div className="full"><Union field={field} path={path} value={value} /></div>;
    case 'list': return <div className="full"><List field={field} path={path} value={value} /></div>;
    case 'texts': return <TagsInput {...common} data={[]} placeholder={empty} value={Array.isArray(value) ? (value as string[]) : []} onChange={set} />;
    case 'boolean': return <Switch id={id} label={field.title} description={field.description} checked={value === true} error={error} onChange={(event) => set(event.currentTarget.checked)} />;
    case 'enum':
      return <Select {...common} data={field.values.map((one) => ({ value: one, label: one }))} value={(value as string | null) ?? null} allowDeselect={field.nullable} clearable={field.nullable} placeholder={empty} onChange={set} />;
    case 'number':
    case 'integer': return <NumberField common={common} value={value} nullable={field.nullable} unit={field.unit} placeholder={empty} set={set} />;
    case 'json': return <div className="full"><JsonField common={common} value={value} set={set} /></div>;
    case 'text':
      if (field.name === 'run') return <div className="full"><RunField common={common} role={path[0] === 'reward' ? 'reward' : 'policy'} value={value} set={set} /></div>;
      if (field.choose === 'dataset') return <div className="full"><UploadField common={common} nullable={field.nullable} value={value} set={set} />{form.below?.(path)}</div>;
      if (path.join('.') === 'prompt') return <div className="full"><Textarea {...common} autosize minRows={4} maxRows={16} spellCheck={false} value={(value as string) ?? ''} onChange={(event) => set(event.currentTarget.value)} />{form.below?.(path)}</div>;
      if (field.name === 'prompt_template') return <Textarea className="full" {...common} autosize minRows={1} maxRows={8} styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)', fontSize: 12 } }} value={(value as string) ?? ''} onChange={(event) => set(event.currentTarget.value)} />;
      return <div className={field.name === 'path' || field.name === 'id' ? 'full' : undefined}><TextInput {...common} spellCheck={false} placeholder={empty} value={(value as string | null) ?? ''} onChange={(event) => set(event.currentTarget.value === '' ? (field.nullable ? null : '') : event.currentTarget.value)} />{form.below?.(path)}</div>;
    default: return null;
  }
}

type Common = { id: string; label: string; description?: string; error?: ReactNode };

/** Keeps what is typed (`1e-6`, `0.0`) and hands on what it means. */
function NumberField({ common, value, nullable, unit, placeholder, set }: { common: Common; value: unknown; nullable: boolean; unit?: string; placeholder?: string; set: (value: unknown) => void }) {
  const written = (given: unknown): string => (given === null || given === undefined ? '' : typeof given === 'number' && given !== 0 && Math.abs(given) < 1e-3 ? given.toExponential().replace('e+', 'e') : String(given));
  const [text, setText] = useState(written(value));
  useEffect(() => { if (parseNumber(text, nullable) !== (value ?? (nullable ? null : undefined))) setText(written(value)); }, [value]);
  const shownUnit = unit && unit !== '1' ? unit : undefined;
  return <TextInput {...common} inputMode="decimal" autoComplete="off" className="num" placeholder={placeholder} value={text} rightSection={shownUnit && <span className="unit">{shownUnit}</span>} rightSectionWidth={shownUnit ? shownUnit.length * 6.4 + 18 : undefined} onChange={(event) => { setText(event.currentTarget.value); set(parseNumber(event.currentTarget.value, nullable)); }} />;
}

/** Keeps what is typed, too, until the value becomes another one from outside. */
function JsonField({ common, value, set }: { common: Common; value: unknown; set: (value: unknown) => void }) {
  const written = (given: unknown): string => (given === undefined || given === null || (typeof given === 'object' && Object.keys(given).length === 0) ? '' : JSON.stringify(given));
  const [text, setText] = useState(written(value));
  useEffect(() => { if (written(parseJson(text)) !== written(value)) setText(written(value)); }, [value]);
  return <JsonInput {...common} autosize minRows={1} maxRows={8} placeholder="{}" spellCheck={false} styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)', fontSize: 12 } }} value={text} onChange={(next) => { setText(next); set(parseJson(next)); }} />;
}

/** The runs that can be built on, by name; a folder path can be typed where the run is not in the list. */
function RunField({ common, role, value, set }: { common: Common; role: 'policy' | 'reward'; value: unknown; set: (value: unknown) => void }) {
  const { models } = useContext(Context)!;
  const fitting = models.filter((model) => model.kind === 'run' && model.role === role && model.run);
  const data = fitting.map((model) => ({ value: model.run!, label: `${model.title} · ${model.description}` }));
  const chosen = typeof value === 'string' && value ? value : null;
  if (chosen && !data.some((one) => one.value === chosen)) data.unshift({ value: chosen, label: chosen });
  return <Select {...common} searchable data={data} value={chosen} maxDropdownHeight={320} placeholder={fitting.length ? 'Choose a run' : role === 'reward' ? 'No reward-model run has succeeded yet' : 'No run has succeeded yet'} nothingFoundMessage="No run fits" onChange={(next) => set(next ?? '')} />;
}

/** The uploaded data sets, by name. */
function UploadField({ common, nullable, value, set }: { common: Common; nullable: boolean; value: unknown; set: (value: unknown) => void }) {
  const { datasets } = useContext(Context)!;
  const data = datasets.filter((one) => one.id && one.file_name && one.state !== 'unreadable').map((one) => ({ value: one.id!, label: one.rows === null ? one.name : `${one.name} · ${one.rows.toLocaleString('en-GB')} rows` }));
  const chosen = typeof value === 'string' && value ? value : null;
  if (chosen && !data.some((one) => one.value === chosen)) data.unshift({ value: chosen, label: chosen });
  return <Select {...common} searchable clearable={nullable} data={data} value={chosen} placeholder={nullable ? 'not set' : data.length ? 'Choose an uploaded file' : 'Nothing has been uploaded yet'} onChange={(next) => set(next ?? (nullable ? null : ''))} />;
}

/** Objects one below the other, to be added and taken away. */
function List({ field, path, value }: { field: Extract<Field, { kind: 'list' }>; path: Path; value: unknown }) {
  const { error, set } = useField(path);
  const items = Array.isArray(value) ? (value as unknown[]) : [];
  return (
    <div className="list" role="group" aria-label={field.title}>
      <p className="help">{field.description}</p>
      {items.map((item, index) => (
        <fieldset key={index}>
          <legend>{field.item} {index + 1}{items.length > field.least && <CloseButton size="xs" aria-label={`Remove ${field.item.toLowerCase()} ${index + 1}`} onClick={() => set(items.toSpliced(index, 1))} />}</legend>
          <Fields fields={field.fields} path={[...path, String(index)]} value={item} />
        </fieldset>
      ))}
      {error && <span role="alert" style={{ color: 'var(--c-danger)', fontSize: 12 }}>{error}</span>}
      {items.length < field.most && <Button size="xs" variant="default" leftSection={<IconPlus size={14} aria-hidden />} onClick={() => set([...items, structuredClone(field.initial)])}>Add {field.item.toLowerCase()}</Button>}
    </div>
  );
}

const NONE = ' none';
const SIDE_BY_SIDE = 4; // more options than this do not fit beside each other
function Union({ field, path, value }: { field: Extract<Field, { kind: 'union' }>; path: Path; value: unknown }) {
  const { form, error, set } = useField(path);
  const narrow = useMediaQuery('(max-width: 700px)', undefined, { getInitialValueInEffect: false }) ?? false;
  const tag = typeof value === 'object' && value !== null ? String((value as Record<string, unknown>)[field.tag]) : NONE;
  const option = field.options.find((one) => one.value === tag);
  const choices = [...(field.nullable ? [{ value: NONE, label: 'None' }] : []), ...field.options.map((one) => ({ value: one.value, label: one.title }))];
  const choose = (next: string): void => set(next === NONE ? null : structuredClone(field.options.find((one) => one.value === next)!.initial));
  return (
    <div className="union">
      {form.above?.(path)}
      {choices.length > SIDE_BY_SIDE ? <Select id={idOf(path)} aria-label={field.title} size="sm" allowDeselect={false} style={{ maxWidth: 360 }} value={tag} onChange={(next) => next && choose(next)} data={choices} /> : <SegmentedControl id={idOf(path)} aria-label={field.title} size="xs" style={{ justifySelf: narrow ? 'stretch' : 'start' }} orientation={narrow ? 'vertical' : 'horizontal'} fullWidth={narrow} value={tag} onChange={choose} data={choices} />}
      {error && <span role="alert" style={{ color: 'var(--c-danger)', fontSize: 12 }}>{error}</span>}
      <p className="help">{[field.description, option?.description].filter(Boolean).join(' ') || words(field.name)}</p>
      {option && option.fields.length > 0 && <Fields key={tag} fields={option.fields} path={path} value={value} />}
    </div>
  );
}
