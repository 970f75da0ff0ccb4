// Sets the chosen theme before anything is drawn. A module would run too late, and the other theme would flash. The
// header's button changes it (views/header.js).
try {
  const theme = localStorage.getItem('sessionwatch.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // No storage: the system's theme.
}
