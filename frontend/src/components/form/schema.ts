/**
 * From pydantic's JSON Schema to a plain tree of fields, and from the server's problems to places in that tree.
 *
 * Only shapes that pydantic writes for our configurations are known; anything else becomes a field that takes JSON, so
 * that a new kind of field can be filled in before the page knows how to show it well.
 */
import { words } from '../../format';

export interface JsonSchema {
  $ref?: string; $defs?: Record<string, JsonSchema>; type?: string; title?: string; description?: string; default?: unknown; const?: unknown; enum?: unknown[];
  properties?: Record<string, JsonSchema>; additionalProperties?: unknown; anyOf?: JsonSchema[]; oneOf?: JsonSchema[]; items?: JsonSchema; minItems?: number; maxItems?: number; unit?: string; [key: string]: unknown;
} // prettier-ignore

export interface FieldBase { name: string; title: string; description: string; unit?: string; nullable: boolean; /** What its value is chosen from, where it is an id. */ choose?: string }
export type Field =
  | (FieldBase & { kind: 'number' | 'integer' | 'text' | 'texts' | 'boolean' | 'json' | 'const' })
  | (FieldBase & { kind: 'enum'; values: string[] })
  | (FieldBase & { kind: 'object'; fields: Field[] })
  | (FieldBase & { kind: 'list'; item: string; fields: Field[]; initial: Record<string, unknown>; least: number; most: number })
  | (FieldBase & { kind: 'union'; tag: string; options: Option[] });
export interface Option { value: string; title: string; description: string; fields: Field[]; initial: Record<string, unknown> }

export function fieldsOf(schema: JsonSchema, root: JsonSchema = schema): Field[] {
  return Object.entries(schema.properties ?? {}).map(([name, property]) => fieldOf(name, property, root));
}

function resolve(schema: JsonSchema, root: JsonSchema): JsonSchema {
  if (!schema.$ref) return schema;
  const { $ref, ...own } = schema;
  return { ...(root.$defs?.[$ref.replace('#/$defs/', '')] ?? {}), ...own };
}

function fieldOf(name: string, given: JsonSchema, root: JsonSchema): Field {
  const schema = resolve(given, root);
  const base: FieldBase = { name, title: schema.title ?? words(name), description: schema.description ?? '', unit: schema.unit, nullable: false, ...(typeof schema.choose === 'string' ? { choose: schema.choose } : {}) };
  const branches = (schema.oneOf ?? schema.anyOf)?.map((branch) => resolve(branch, root));
  if (branches) {
    base.nullable = branches.some((branch) => branch.type === 'null');
    const rest = branches.flatMap((branch) => (branch.type === 'null' ? [] : branch.oneOf ? branch.oneOf.map((inner) => resolve(inner, root)) : [branch]));
    const tag = tagOf(rest);
    if (tag) return { ...base, kind: 'union', tag, options: rest.map((branch) => optionOf(branch, tag, root)) };
    if (rest.length === 1) {
      const inner = fieldOf(name, { ...rest[0], title: base.title, description: base.description, ...(base.unit ? { unit: base.unit } : {}) }, root);
      return { ...inner, nullable: base.nullable, ...(base.choose ? { choose: base.choose } : {}) };
    }
    return { ...base, kind: 'json' };
  }
  if (schema.const !== undefined) return { ...base, kind: 'const' };
  if (schema.enum?.every((value) => typeof value === 'string')) return { ...base, kind: 'enum', values: schema.enum as string[] };
  if (schema.properties) return { ...base, kind: 'object', fields: fieldsOf(schema, root) };
  switch (schema.type) {
    case 'number': return { ...base, kind: 'number' };
    case 'integer': return { ...base, kind: 'integer' };
    case 'string': return { ...base, kind: 'text' };
    case 'boolean': return { ...base, kind: 'boolean' };
    case 'array': return listOf(base, schema, root);
    default: return { ...base, kind: 'json' };
  }
}

/** Objects of one shape as a list of them; texts as tags; anything else as JSON. */
function listOf(base: FieldBase, schema: JsonSchema, root: JsonSchema): Field {
  const item = resolve(schema.items ?? {}, root);
  if (item.type === 'string' && !item.enum) return { ...base, kind: 'texts' };
  if (!item.properties) return { ...base, kind: 'json' };
  return { ...base, kind: 'list', item: item.title ?? words(base.name), fields: fieldsOf(item, root), initial: initialOf(item, root), least: schema.minItems ?? 0, most: schema.maxItems ?? Infinity };
}

/** The property that tells the branches of a union apart: a different constant in each. */
function tagOf(branches: JsonSchema[]): string | undefined {
  const candidates = Object.keys(branches[0]?.properties ?? {});
  return candidates.find((name) => new Set(branches.map((branch) => branch.properties?.[name]?.const)).size === branches.length && branches.every((branch) => branch.properties?.[name]?.const !== undefined));
}

function optionOf(branch: JsonSchema, tag: string, root: JsonSchema): Option {
  const value = String(branch.properties![tag]!.const);
  return { value, title: branch.title ?? words(value), description: (branch.description ?? '').replaceAll('\n', ' '), fields: requiredFirst(fieldsOf(branch, root).filter((field) => field.name !== tag), branch), initial: initialOf(branch, root) };
}

/** What has no default must be filled in, so it stands first. */
function requiredFirst(fields: Field[], branch: JsonSchema): Field[] {
  const required = Array.isArray(branch.required) ? (branch.required as string[]) : [];
  return fields.toSorted((a, b) => Number(required.includes(b.name)) - Number(required.includes(a.name)));
}

/** What an option starts from: the constants and defaults that its schema names. */
function initialOf(branch: JsonSchema, root: JsonSchema): Record<string, unknown> {
  const initial: Record<string, unknown> = {};
  for (const [name, given] of Object.entries(branch.properties ?? {})) {
    const property = resolve(given, root);
    if (property.const !== undefined) initial[name] = property.const;
    else if (property.default !== undefined) initial[name] = structuredClone(property.default);
    else {
      // Without a default a list has as many items as it must, and a union in them its first option.
      const field = fieldOf(name, given, root);
      if (field.kind === 'list') initial[name] = Array.from({ length: field.least }, () => structuredClone(field.initial));
      if (field.kind === 'union' && !field.nullable) initial[name] = structuredClone(field.options[0]!.initial);
    }
  }
  return initial;
}

export type Path = readonly string[];

/** A copy with one value put in its place; undefined takes the key away. */
export function setAt(values: Record<string, unknown>, path: Path, value: unknown): Record<string, unknown> {
  const [first, ...rest] = path;
  if (first === undefined) return values;
  // A list is copied as a list, whose keys are its indices.
  const copy = (Array.isArray(values) ? [...(values as unknown[])] : { ...values }) as Record<string, unknown>;
  if (rest.length) {
    const inner = copy[first];
    copy[first] = setAt(typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>) : {}, rest, value);
  } else if (value === undefined) delete copy[first];
  else copy[first] = value;
  return copy;
}

/** `2,000` is two thousand to some and two to others; `0,005` is neither. */
const THOUSANDS = /^[+-]?[1-9]\d*,\d{3}(?!\d)/;

/** What a person typed, as a number where it is one; else as it stands, so that the server can say what is wrong. */
export function parseNumber(text: string, nullable: boolean): unknown {
  const trimmed = text.trim();
  if (trimmed === '') return nullable ? null : undefined;
  const value = Number(trimmed.replace(',', '.'));
  return THOUSANDS.test(trimmed) || !Number.isFinite(value) ? trimmed : value;
}

/** The same of a field that takes JSON, where nothing typed is an empty object. */
export function parseJson(text: string): unknown {
  if (text.trim() === '') return {};
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Messages by dotted path inside the configuration; what belongs to no field stands under ''. */
export function problemsByField(errors: readonly { field: string; message: string }[], fields: readonly Field[], config: Record<string, unknown>): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const { field, message } of errors) {
    const path = field.split('.').slice(field === 'config' || field.startsWith('config.') ? 1 : 0);
    const place = nearest(path, fields, config);
    const text = place.length === path.length || path.length === 0 ? message : `${path.slice(place.length).join('.')}: ${message}`;
    found.set(place.join('.'), [...(found.get(place.join('.')) ?? []), text]);
  }
  return found;
}

/** The longest beginning of the path that the form shows, so that no message is lost. */
function nearest(path: string[], fields: readonly Field[], values: unknown): string[] {
  const field = fields.find((one) => one.name === path[0] && one.kind !== 'const');
  if (!field) return [];
  const inner = typeof values === 'object' && values !== null ? (values as Record<string, unknown>)[field.name] : undefined;
  if (field.kind === 'object') return [field.name, ...nearest(path.slice(1), field.fields, inner)];
  if (field.kind === 'list') {
    const index = path[1];
    const item = index !== undefined && Array.isArray(inner) ? (inner as unknown[])[Number(index)] : undefined;
    return item === undefined ? [field.name] : [field.name, index!, ...nearest(path.slice(2), field.fields, item)];
  }
  if (field.kind === 'union') {
    const option = field.options.find((one) => one.value === (inner as Record<string, unknown> | null | undefined)?.[field.tag]);
    return [field.name, ...(option ? nearest(path.slice(1), option.fields, inner) : [])];
  }
  return [field.name];
}
