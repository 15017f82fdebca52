// Sentences about what is wrong with a page as it is; none: nothing that this finds.
() => {
  const found = [];
  const seen = (x) => x.checkVisibility({opacityProperty: true, visibilityProperty: true})
    && !x.closest('.visually-hidden, .skip');
  const channel = (x) => { const c = x / 255; return c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const parse = (text) => text.match(/[\d.]+/g).map(Number);
  const behind = (x) => {
    for (let e = x; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  for (const x of document.querySelectorAll('body *')) {
    if (!seen(x)) continue;
    const text = [...x.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join('');
    if (text && !x.closest('svg') && !x.closest(':disabled')) {
      const [a, b] = [light(parse(getComputedStyle(x).color)), light(behind(x))];
      const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
      if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)} of "${text.slice(0, 30)}"`);
    }
    if (x.matches('input, select, textarea') && !x.labels?.length && !x.ariaLabel)
      found.push('a field without a label');
    if (x.matches('button, a[href]') && !(x.textContent.trim() || x.ariaLabel)) found.push('a control without a name');
    if (x.matches('svg') && x.getAttribute('aria-hidden') !== 'true' && !x.getAttribute('aria-label')) found.push('a picture without words');
    if (x.matches('table') && (!x.querySelector('thead th[scope=col]') || !document.getElementById(x.getAttribute('aria-labelledby')))) found.push('a table without headers or name');
    if (x.scrollWidth > x.clientWidth + 1 && getComputedStyle(x).overflowX === 'auto' && x.tabIndex < 0 && !x.querySelector('a, button')) found.push(`what scrolls cannot be reached: ${x.className}`);
  }
  for (const tag of ['header', 'nav', 'main']) if (document.querySelectorAll(tag === 'header' ? 'body > header' : tag).length !== 1) found.push(`not one ${tag}`);
  if (document.querySelectorAll('h1').length !== 1) found.push('not one heading of the first level');
  const ids = [...document.querySelectorAll('[id]')].map((x) => x.id);
  if (new Set(ids).size !== ids.length) found.push('an id twice');
  const levels = [...document.querySelectorAll('h1, h2, h3, h4')].filter(seen).map((x) => Number(x.tagName[1]));
  levels.forEach((x, i) => { if (i > 0 && x > levels[i - 1] + 1) found.push('a level of headings is left out'); });
  if (document.documentElement.scrollWidth > innerWidth) found.push(`wider than the window: ${document.documentElement.scrollWidth}`);
  return [...new Set(found)];
}
