/** What stands around every page: navigation, the live connection, the colour scheme. */
import { ActionIcon, Menu, Tooltip, useMantineColorScheme } from '@mantine/core';
import { IconDeviceDesktop, IconLogout, IconMoon, IconSun, IconUser } from '@tabler/icons-react';
import { useEffect, useRef } from 'react';
import { NavLink, Outlet, useLocation } from 'react-router';
import { useHealth } from '../api/queries';
import { logOut, May, useSession } from '../api/session';
import { useLive } from '../live/live';
import { Brand } from './Brand';
import { Palette } from './Palette';
import { SavedViews } from './SavedViews';
import { Leaving } from './unsaved';

const SCHEMES = [['light', 'Light', IconSun], ['dark', 'Dark', IconMoon], ['auto', 'As the system', IconDeviceDesktop]] as const;

function SchemeMenu() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const Icon = SCHEMES.find(([value]) => value === colorScheme)?.[2] ?? IconDeviceDesktop;
  return (
    <Menu>
      <Menu.Target><ActionIcon variant="subtle" color="gray" aria-label="Colour scheme" data-testid="scheme-button"><Icon size={17} /></ActionIcon></Menu.Target>
      <Menu.Dropdown>
        {SCHEMES.map(([value, label, One]) => <Menu.Item key={value} leftSection={<One size={15} />} onClick={() => setColorScheme(value)} aria-current={value === colorScheme}>{label}</Menu.Item>)}
      </Menu.Dropdown>
    </Menu>
  );
}

const GIVEN_BACK = 400; // ms after which a dialog is gone
const MAY: Record<string, string> = { read: 'May look', launch: 'May look and launch', admin: 'May do everything' };

/** Who is logged in, and the way out. Where nobody is asked for a token, there is nobody to show. */
function UserMenu() {
  const { data: session } = useSession();
  if (session === undefined || session.kind === 'open') return null;
  return (
    <Menu>
      <Menu.Target><ActionIcon variant="subtle" color="gray" aria-label={`Logged in as ${session.name}`} data-testid="user-button"><IconUser size={17} /></ActionIcon></Menu.Target>
      <Menu.Dropdown>
        <Menu.Label maw={260} style={{ overflowWrap: 'anywhere' }}><b style={{ color: 'var(--c-text)' }}>{session.name}</b><br />{MAY[session.scopes.at(-1) ?? 'read']}</Menu.Label>
        <Menu.Item leftSection={<IconLogout size={15} />} onClick={() => void logOut()} data-testid="logout-item">Log out</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

export function Shell() {
  const { connected } = useLive();
  const health = useHealth();
  const { pathname } = useLocation();
  const place = pathname.split('/').slice(0, 3).join('/');
  const before = useRef(place);
  useEffect(() => {
    window.scrollTo(0, 0);
    if (before.current === place) return undefined; // a load: the focus begins at the top
    before.current = place;
    // What was clicked went with its page: the keyboard goes on in the new one. A dialog that closes gives its focus back a moment later.
    const look = (): void => { if (document.activeElement === document.body) document.getElementById('page')?.focus({ preventScroll: true }); };
    look();
    const timer = setTimeout(look, GIVEN_BACK);
    return () => clearTimeout(timer);
  }, [place]);
  const well = health.data?.status === 'ok' && health.data.workers > 0;
  const why = health.isError ? 'The server cannot be reached' : !health.data ? 'Asking' : health.data.detail || (health.data.workers === 0 ? 'No worker is alive: queued runs will wait' : `${health.data.workers} worker${health.data.workers > 1 ? 's' : ''}, all well`);
  return (
    <>
      <a className="skip" href="#page">Skip to the page</a>
      <header className="top">
        <NavLink className="brand" to="/runs" aria-label="CoPG Studio">
          <Brand />
        </NavLink>
        <nav className="navs" aria-label="Main">
          <NavLink className="nav" to="/runs">Runs</NavLink>
          <NavLink className="nav" to="/sweeps">Sweeps</NavLink>
          <NavLink className="nav" to="/compare">Compare</NavLink>
          <NavLink className="nav" to="/playground">Try</NavLink>
          <May scope="launch"><NavLink className="nav" to="/launch">Launch</NavLink></May>
          <NavLink className="nav" to="/data">Data</NavLink>
          <NavLink className="nav" to="/bandit">Bandit</NavLink>
          <NavLink className="nav" to="/system" title={why}>System{health.data || health.isError ? <i className={`dot ${well ? 'on' : 'off'}`} role="img" aria-label={why} /> : null}</NavLink>
        </nav>
        <div className="push" style={{ display: 'flex', gap: 10, alignItems: 'center' }}>
          {connected !== undefined && <Tooltip label={connected ? 'Changes arrive by themselves' : 'Trying to connect again'}>
            <span className="live" role="status" data-testid="live" data-connected={connected}><i className={`dot ${connected ? 'on' : 'off'}`} aria-hidden /><span className="word">{connected ? 'Live' : 'Offline'}</span></span>
          </Tooltip>}
          <SavedViews />
          <SchemeMenu />
          <UserMenu />
        </div>
      </header>
      <main className="page" id="page" tabIndex={-1} style={{ outline: 'none' }}><Outlet /></main>
      <Palette />
      <Leaving />
    </>
  );
}
