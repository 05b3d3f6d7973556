// Light, dark, or what the system says; kept by the browser.
import { byId, setText } from './dom.mjs';

const KEY = 'relayd-theme';
const NEXT = { system: 'light', light: 'dark', dark: 'system' };

export function startTheme() {
  let theme = stored();
  const show = () => {
    document.documentElement.dataset.theme = theme;
    setText(byId('theme'), `Theme: ${theme}`);
  };
  byId('theme').addEventListener('click', () => {
    theme = NEXT[theme];
    show();
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // Until the page is closed, then.
    }
  });
  show();
}

function stored() {
  try {
    const theme = localStorage.getItem(KEY);
    return theme in NEXT ? theme : 'system';
  } catch {
    return 'system';
  }
}
