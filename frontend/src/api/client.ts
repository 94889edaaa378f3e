/** The REST client: types from our OpenAPI document, every failure an `ApiError` that carries the problem details. */
import createClient, { type Middleware } from 'openapi-fetch';
import type { components, paths } from './schema';

type Schemas = components['schemas'];
export type RunSummary = Schemas['RunSummary'];
export type RunDetail = Schemas['RunDetail'];
export type RunState = RunSummary['state'];
export type Algorithm = Schemas['AlgorithmOut'];
export type Model = Schemas['ModelOut'];
export type Preview = Schemas['DatasetPreview'];
export type Pipeline = Schemas['PipelineOut'];
export type FigureOut = Schemas['FigureOut'];
export type GpuFigureOut = Schemas['GpuFigureOut'];
export type FigurePoints = Schemas['FigurePoints'];
export type FigureTails = Schemas['FigureTails'];
export type DeviceEstimate = Schemas['DeviceEstimate'];
export type Sweep = Schemas['SweepOut'];
export type SweepSummary = Schemas['SweepSummary'];
export type SweepMember = Schemas['MemberOut'];
export type SweepPreview = Schemas['SweepPreview'];
export type DataSet = Schemas['DatasetOut'];
export type DataSetList = Schemas['DatasetList'];
export type DataSetDetail = Schemas['DatasetDetail'];
export type RowTokens = Schemas['RowTokens'];
export type TokenCounts = Schemas['TokensOut'];
export type DataReport = Schemas['DatasetReport'];
export type Upload = Schemas['UploadOut'];
export type Sample = Schemas['SampleOut'];
export type Artifact = Schemas['ArtifactOut'];
export type Checkpoint = Schemas['CheckpointOut'];
export type CheckpointList = Schemas['CheckpointList'];
export type StorageUse = Schemas['StorageOut'];
export type Freeable = Schemas['Freeable'];
export type Comparison = Schemas['CompareOut'];
export type SideBySide = Schemas['SamplesSideBySide'];
export type Trial = Schemas['TrialOut'];
export type TrialRequest = Schemas['TrialCreate'];
export type SavedView = Schemas['SavedViewOut'];
export type BanditConfig = Schemas['BanditConfig'];
export type BanditFigures = Schemas['BanditFigures'];
export type BanditPreset = Schemas['BanditPreset'];

export interface Problem {
  title: string;
  status: number;
  detail: string;
  errors: { field: string; message: string }[];
}

export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail || problem.title);
    this.name = 'ApiError';
  }
}

/** Whether the server says that there is no such thing any more. */
export const isGone = (error: unknown): boolean => error instanceof ApiError && error.problem.status === 404;

const staying = new Set<{ say?: () => void }>();

/** Until what is returned is called, nobody is sent to log in: something is shown that is shown once, or is not saved yet. `say` is called instead. */
export function stayHere(say?: () => void): () => void {
  const one = { say };
  staying.add(one);
  return () => void staying.delete(one);
}

/** Whoever is not logged in is sent to log in, and comes back to where they were. */
function askToLogIn(): void {
  if (location.pathname === '/login') return;
  if (staying.size === 0) return location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search + location.hash)}`);
  staying.forEach(({ say }) => say?.());
}

/** For what is asked while somebody types: an unfinished form is an answer, which a browser logs as no failure. */
export const DRAFT = { Prefer: 'handling=lenient' };
const isProblem = (response: Response): boolean => response.headers.get('Content-Type')?.startsWith('application/problem+json') ?? false;

const throwing: Middleware = {
  onRequest({ request }) {
    request.headers.set('X-CoPG-Request', 'page'); // no other site's page can: the server tells us from them by it
  },
  async onResponse({ response }) {
    if (response.ok && !isProblem(response)) return;
    if (response.status === 401) askToLogIn();
    const body: unknown = await response.clone().json().catch(() => null);
    const given = (typeof body === 'object' && body !== null ? body : {}) as Partial<Problem>;
    throw new ApiError({
      title: given.title ?? response.statusText,
      status: given.status ?? response.status,
      detail: typeof given.detail === 'string' ? given.detail : `The server answered ${response.status}.`,
      errors: Array.isArray(given.errors) ? given.errors : [],
    });
  },
  onError({ error }) {
    const detail = error instanceof Error && error.name === 'AbortError' ? 'Interrupted.' : 'The server cannot be reached. Is `copg up` still running?';
    return new ApiError({ title: 'No connection', status: 0, detail, errors: [] });
  },
};

export const api = createClient<paths>({ baseUrl: '/' });
api.use(throwing);

/** The data of an answer; failures have been thrown by the middleware. */
export async function data<T>(answer: Promise<{ data?: T }>): Promise<T> {
  return (await answer).data as T;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
