// The chosen theme, set before anything is drawn: a module would come too late and let
// the other theme flash. The header's button changes it (views/header.js).
try {
  const theme = localStorage.getItem('sessionwatch.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // No storage: the system's theme.
}
