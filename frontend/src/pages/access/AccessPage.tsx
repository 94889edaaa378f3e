/** Who may come in, and who is told: tokens and webhooks, for admins. */
import { May } from '../../api/session';
import { usePageTitle } from '../../components/title';
import './access.css';
import { Tokens } from './Tokens';
import { Webhooks } from './Webhooks';

export function AccessPage() {
  usePageTitle('Access');
  return (
    <>
      <div className="head"><h1>Access</h1><span className="muted" style={{ fontSize: 13 }}>tokens for people and programs, webhooks for what is not here all the time</span></div>
      <May scope="admin" otherwise={<section className="panel box"><p className="note">Tokens and webhooks are shown to tokens of scope admin.</p></section>}>
        <Tokens />
        <Webhooks />
      </May>
    </>
  );
}
