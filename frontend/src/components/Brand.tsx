/** The mark and the name. */
export function Brand() {
  return (
    <>
      <svg width="26" height="26" viewBox="0 0 32 32" aria-hidden><rect width="32" height="32" rx="8" fill="#0b62a6" /><path d="M6 23C12 23 12 9 26 9" fill="none" stroke="#fff" strokeWidth="3" strokeLinecap="round" /><path d="M6 23C14 23 15 18 26 18" fill="none" stroke="#8cc8f5" strokeWidth="2.5" strokeLinecap="round" /></svg>
      <span>CoPG Studio</span>
    </>
  );
}
