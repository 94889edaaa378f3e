import '@fontsource-variable/inter/wght.css';
import '@mantine/core/styles.css';
import '@mantine/notifications/styles.css';
import './styles.css';
import { MantineProvider, Skeleton } from '@mantine/core';
import { Notifications } from '@mantine/notifications';
import { QueryClientProvider } from '@tanstack/react-query';
import { lazy, StrictMode, Suspense } from 'react';
import { createRoot } from 'react-dom/client';
import { createBrowserRouter, Navigate } from 'react-router';
import { RouterProvider } from 'react-router/dom';
import { Answers } from './api/cache';
import { ApiError } from './api/client';
import { May } from './api/session';
import { ActionsProvider } from './components/actions';
import { Broken, loadOnceMore } from './components/Broken';
import { Shell } from './components/Shell';
import { PageTitle } from './components/title';
import { LiveProvider } from './live/live';
import { LoginPage } from './pages/login/LoginPage';
import { RunsPage } from './pages/runs/RunsPage';
import { cssVariables, theme } from './theme';

const client = new Answers({
  defaultOptions: {
    queries: {
      staleTime: 15_000,
      // What does not exist will not exist at the third try either.
      retry: (count, error) => count < 2 && !(error instanceof ApiError && error.problem.status >= 400 && error.problem.status < 500),
    },
  },
});

const RunPage = lazy(async () => ({ default: (await import('./pages/run/RunPage')).RunPage }));
const LaunchPage = lazy(async () => ({ default: (await import('./pages/launch/LaunchPage')).LaunchPage }));
const SystemPage = lazy(async () => ({ default: (await import('./pages/system/SystemPage')).SystemPage }));
const SweepsPage = lazy(async () => ({ default: (await import('./pages/sweeps/SweepsPage')).SweepsPage }));
const SweepPage = lazy(async () => ({ default: (await import('./pages/sweeps/SweepPage')).SweepPage }));
const ComparePage = lazy(async () => ({ default: (await import('./pages/compare/ComparePage')).ComparePage }));
const SamplesPage = lazy(async () => ({ default: (await import('./pages/samples/SamplesPage')).SamplesPage }));
const AccessPage = lazy(async () => ({ default: (await import('./pages/access/AccessPage')).AccessPage }));
const PlaygroundPage = lazy(async () => ({ default: (await import('./pages/playground/PlaygroundPage')).PlaygroundPage }));
const BanditPage = lazy(async () => ({ default: (await import('./pages/bandit/BanditPage')).BanditPage }));
const DataPage = lazy(async () => ({ default: (await import('./pages/data/DataPage')).DataPage }));
const DataSetPage = lazy(async () => ({ default: (await import('./pages/data/DataSetPage')).DataSetPage }));
const late = (page: React.ReactNode): React.ReactNode => <Suspense fallback={<Skeleton height={420} aria-busy="true" />}>{page}</Suspense>;

const Alone = (): React.ReactNode => <main className="page"><Broken /></main>;
addEventListener('vite:preloadError', () => void loadOnceMore());

const router = createBrowserRouter([
  { path: 'login', element: <LoginPage />, errorElement: <Alone /> },
  {
    element: <LiveProvider><ActionsProvider><Shell /></ActionsProvider></LiveProvider>,
    errorElement: <Alone />,
    children: [{ errorElement: <Broken />, children: [
      { index: true, element: <Navigate to="/runs" replace /> },
      { path: 'runs', element: <RunsPage /> },
      { path: 'runs/:id/:tab?', element: late(<RunPage />) },
      { path: 'launch', element: <May scope="launch" otherwise={<p>Your token may only look: ask for one of scope launch. <a href="/runs">All runs</a></p>}>{late(<LaunchPage />)}</May> },
      { path: 'sweeps', element: late(<SweepsPage />) },
      { path: 'sweeps/:id', element: late(<SweepPage />) },
      { path: 'compare', element: late(<ComparePage />) },
      { path: 'samples', element: late(<SamplesPage />) },
      { path: 'playground/:id?', element: late(<PlaygroundPage />) },
      { path: 'data', element: late(<DataPage />) },
      { path: 'data/:id', element: late(<DataSetPage />) },
      { path: 'bandit', element: late(<BanditPage />) },
      { path: 'system', element: late(<SystemPage />) },
      { path: 'access', element: late(<AccessPage />) },
      { path: '*', element: <><PageTitle name="No such page" /><div className="head"><h1>There is no such page</h1></div><p><a href="/runs">All runs</a></p></> },
    ] }],
  },
]);

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <MantineProvider theme={theme} cssVariablesResolver={cssVariables} defaultColorScheme="auto">
      <QueryClientProvider client={client}>
        <Notifications position="bottom-right" />
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
