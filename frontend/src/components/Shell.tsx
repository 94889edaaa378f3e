/** What stands around every page: navigation, the live connection, the colour scheme. */
import { ActionIcon, Menu, Tooltip, useMantineColorScheme } from '@mantine/core';
import { IconDeviceDesktop, IconMoon, IconSun } from '@tabler/icons-react';
import { useEffect } from 'react';
import { NavLink, Outlet, useLocation } from 'react-router';
import { useHealth } from '../api/queries';
import { useLive } from '../live/live';

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

export function Shell() {
  const { connected } = useLive();
  const health = useHealth();
  const { pathname } = useLocation();
  useEffect(() => { window.scrollTo(0, 0); }, [pathname.split('/').slice(0, 3).join('/')]);
  const well = health.data?.status === 'ok' && health.data.workers > 0;
  const why = health.isError ? 'The server cannot be reached' : !health.data ? 'Asking' : health.data.detail || (health.data.workers === 0 ? 'No worker is alive: queued runs will wait' : `${health.data.workers} worker${health.data.workers > 1 ? 's' : ''}, all well`);
  return (
    <>
      <a className="skip" href="#page">Skip to the page</a>
      <header className="top">
        <NavLink className="brand" to="/runs" aria-label="CoPG Studio">
          <svg width="26" height="26" viewBox="0 0 32 32" aria-hidden><rect width="32" height="32" rx="8" fill="#0b62a6" /><path d="M6 23C12 23 12 9 26 9" fill="none" stroke="#fff" strokeWidth="3" strokeLinecap="round" /><path d="M6 23C14 23 15 18 26 18" fill="none" stroke="#8cc8f5" strokeWidth="2.5" strokeLinecap="round" /></svg>
          <span>CoPG Studio</span>
        </NavLink>
        <nav style={{ display: 'flex', gap: 2 }} aria-label="Main">
          <NavLink className="nav" to="/runs">Runs</NavLink>
          <NavLink className="nav" to="/launch">Launch</NavLink>
          <NavLink className="nav" to="/bandit">Bandit</NavLink>
          <NavLink className="nav" to="/system" title={why}>System{health.data || health.isError ? <i className={`dot ${well ? 'on' : 'off'}`} role="img" aria-label={why} /> : null}</NavLink>
        </nav>
        <div className="push" style={{ display: 'flex', gap: 10, alignItems: 'center' }}>
          <Tooltip label={connected ? 'Changes arrive by themselves' : 'Trying to connect again'}>
            <span className="live" role="status" data-testid="live" data-connected={connected}><i className={`dot ${connected ? 'on' : 'off'}`} aria-hidden /><span className="word">{connected ? 'Live' : 'Offline'}</span></span>
          </Tooltip>
          <SchemeMenu />
        </div>
      </header>
      <main className="page" id="page" tabIndex={-1} style={{ outline: 'none' }}><Outlet /></main>
    </>
  );
}
