"""The page's style: light and dark by the reader's own setting, no font and no script."""

CSS = """\
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6675; --page: #fbfbfa; --card: #fff;
  --rule: #dfe3e8; --good: #1a7f4b; --bad: #b3261e; --warn: #8a5a00; --gone: #fde2df;
  --come: #d8f3e2; --blue: #2457c5; --violet: #8a3ffc; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa5b3; --page: #12161c;
  --card: #1a2029; --rule: #2e3743; --good: #5bd693; --bad: #ff8a80; --warn: #f0b84c;
  --gone: #57211d; --come: #14432b; --blue: #8ab4ff; --violet: #c79bff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 28px 20px 60px; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0 0 2px; } h2 { font-size: 18px; margin: 36px 0 8px; }
p.sub, .note, .label, caption { color: var(--soft); } p.sub { margin: 0 0 20px; }
.note { max-width: 78ch; }
.gates { display: grid; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); gap: 12px; }
.gate { background: var(--card); border: 1px solid var(--rule); border-left: 5px solid var(--warn);
  border-radius: 6px; padding: 12px 14px; }
.gate.pass { border-left-color: var(--good); } .gate.fail { border-left-color: var(--bad); }
.gate b { display: block; font-size: 13px; color: var(--soft); font-weight: 600; }
.gate .verdict { font-size: 20px; font-weight: 650; color: var(--warn); }
.pass .verdict { color: var(--good); } .fail .verdict { color: var(--bad); }
.gate p { margin: 4px 0 0; font-size: 13px; color: var(--soft); }
.interval { display: block; width: 231px; height: 22px; margin-top: 6px; }
.axis { stroke: var(--rule); stroke-width: 2; } .bar { stroke: var(--bad); stroke-dasharray: 3 3; }
.range { stroke: var(--blue); stroke-width: 4; opacity: .45; } .dot { fill: var(--blue); }
.trend { width: 100%; max-width: 760px; background: var(--card); border: 1px solid var(--rule);
  border-radius: 6px; } .trend .label { font-size: 11px; fill: var(--soft); }
.line { fill: none; stroke: var(--blue); stroke-width: 2; } .line.l1 { stroke: var(--violet); }
.dot.l1 { fill: var(--violet); } .trend .label.l0 { fill: var(--blue); }
.trend .label.l1 { fill: var(--violet); } .line.l2 { stroke: var(--good); }
.dot.l2, .trend .label.l2 { fill: var(--good); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--rule); }
th:first-child { text-align: left; font-weight: 600; overflow-wrap: anywhere; min-width: 10em; }
thead th { color: var(--soft); font-size: 13px; font-weight: 600; }
.tag { font-size: 11px; border: 1px solid var(--rule); border-radius: 9px; padding: 1px 7px;
  margin-left: 6px; color: var(--soft); font-weight: 500; white-space: nowrap; }
.down { color: var(--bad); }
details { background: var(--card); border: 1px solid var(--rule); border-radius: 6px;
  margin: 8px 0; } summary { cursor: pointer; padding: 9px 14px; overflow-wrap: anywhere; }
summary .why { color: var(--bad); font-weight: 600; margin-right: 8px; }
.asked { margin: 0 14px 10px; color: var(--soft); white-space: pre-wrap; overflow-wrap: anywhere;
  max-height: 11em; overflow-y: auto; border-left: 3px solid var(--rule); padding-left: 10px; }
.sides { display: grid; grid-template-columns: 1fr 1fr; border-top: 1px solid var(--rule); }
.sides > div { padding: 10px 14px; min-width: 0; } .sides > div + div {
  border-left: 1px solid var(--rule); } .sides b { font-size: 13px; color: var(--soft); }
pre { margin: 4px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 30em;
  overflow-y: auto; font: 13px/1.5 ui-monospace, monospace; }
del { background: var(--gone); text-decoration: none; border-radius: 2px; }
ins { background: var(--come); text-decoration: none; border-radius: 2px; }
@media (max-width: 700px) { .sides { grid-template-columns: 1fr; }
  .sides > div + div { border-left: 0; border-top: 1px solid var(--rule); } }
"""
