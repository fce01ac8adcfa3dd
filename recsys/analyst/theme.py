"""How the page looks: Streamlit's own options, and the style sheet of what `markup` makes."""

PALETTE = (
    "#3454d1",
    "#e07a1f",
    "#16865c",
    "#b5428e",
    "#7c5cd6",
    "#0d8ea3",
    "#c23b3b",
    "#8a7a14",
)
"""Colours of groups, told apart also by who sees few colours; white text is legible on none."""

QUIET = "#858a98"
"""Whatever belongs to no group."""

INK = "#1b2130"
LIKED = "#16865c"

ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><rect width='32' height='32'"
    " rx='8' fill='#3454d1'/><path d='M16 24s-8-4.7-8-10a4.4 4.4 0 0 1 8-2.4A4.4 4.4 0 0 1"
    " 24 14c0 5.3-8 10-8 10z' fill='#fff'/></svg>"
)
"""In the browser's tab; an icon by name would be fetched from elsewhere."""

OPTIONS = {
    "theme.base": "light",
    "theme.primaryColor": "#3454d1",
    "theme.backgroundColor": "#fbfaf8",
    "theme.secondaryBackgroundColor": "#f1efeb",
    "theme.textColor": INK,
    "theme.borderColor": "#e3e0da",
    "theme.baseRadius": "10px",
    "theme.font": "sans-serif",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "browser.gatherUsageStats": "false",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
}
"""Options of `streamlit run`, by name."""

STYLE = """
<style>
header[data-testid="stHeader"], #MainMenu, footer, [data-testid="stDecoration"],
[data-testid="stStatusWidget"] { display: none !important; }
.stMainBlockContainer, .block-container { max-width: 1180px; padding: 1.25rem 1.5rem 4rem; }
[data-testid="stElementToolbar"] { display: none; }
.rs-brand { font-size: 1.05rem; font-weight: 700; letter-spacing: -.01em; color: #1b2130;
  white-space: nowrap; }
.rs-brand i { font-style: normal; font-weight: 400; color: #6b7080; margin-left: .45rem; }
.rs-title { margin: .4rem 0 .2rem; }
.rs-title h2 { font-size: 1.9rem; line-height: 1.2; font-weight: 700; letter-spacing: -.02em;
  margin: 0; padding: 0; overflow-wrap: anywhere; }
.rs-over { margin: 0 0 .2rem; font-size: .74rem; font-weight: 600; letter-spacing: .07em;
  text-transform: uppercase; color: #6b7080; }
.rs-card-head + .rs-over { margin-top: .55rem; }
.rs-lead { margin: .35rem 0 0; color: #5a6070; font-size: .95rem; line-height: 1.5;
  max-width: 46rem; }
.rs-section { margin: 1.4rem 0 .1rem; }
.rs-section h3 { font-size: 1.15rem; font-weight: 650; letter-spacing: -.01em; margin: 0;
  padding: 0; }
.rs-section .rs-lead { font-size: .88rem; margin-top: .2rem; }
.rs-tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));
  gap: .75rem; }
.rs-tile { background: #fff; border: 1px solid #e9e6e0; border-radius: 12px;
  padding: .8rem 1rem .75rem; display: flex; flex-direction: column; min-width: 0; }
.rs-label { font-size: .78rem; color: #6b7080; }
.rs-value { font-size: 1.45rem; font-weight: 650; letter-spacing: -.02em; line-height: 1.35;
  overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.rs-note { font-size: .78rem; color: #6b7080; min-height: 1.1em; }
.rs-gallery { display: flex; flex-wrap: wrap; gap: .6rem; }
.rs-pic { margin: 0; min-width: 0; }
.rs-frame { position: relative; display: block; border-radius: 9px; overflow: hidden;
  background: #efede8; aspect-ratio: 1; }
.rs-frame img { width: 100%; height: 100%; object-fit: cover; display: block; }
.rs-gallery.rs-s { display: grid; grid-template-columns: repeat(auto-fill, minmax(52px, 1fr));
  gap: .45rem; max-width: 480px; }
.rs-gallery.rs-m .rs-pic { width: 104px; }
.rs-gallery.rs-l .rs-pic { width: 168px; }
button.rs-frame { width: 100%; padding: 0; border: 0; cursor: zoom-in; font: inherit; }
button.rs-frame[data-pick] { cursor: pointer; }
button.rs-frame:focus-visible { outline: 3px solid #3454d1; outline-offset: 2px; }
button.rs-frame[aria-pressed="true"] { outline: 3px solid #3454d1; outline-offset: 2px; }
.rs-large { margin: 0; } .rs-large img { width: 100%; max-height: 75vh; object-fit: contain; }
.rs-large figcaption { font-size: .78rem; color: #5a6070; overflow-wrap: anywhere; }
.rs-page { font-size: .9rem; color: #4b5060; font-variant-numeric: tabular-nums; }
.rs-liked .rs-frame { box-shadow: 0 0 0 2px #16865c; }
.rs-passed .rs-frame { outline: 2px dashed #a4a8b3; outline-offset: -1px; }
.rs-mark { position: absolute; right: 5px; bottom: 5px; min-width: 20px; height: 20px;
  border-radius: 10px; font-size: 11px; line-height: 20px; text-align: center; color: #fff;
  background: #16865c; font-weight: 700; }
.rs-passed .rs-mark { background: #4b5060; }
.rs-s .rs-mark { min-width: 16px; height: 16px; line-height: 16px; font-size: 9px; right: 3px;
  bottom: 3px; }
.rs-pic figcaption { font-size: .74rem; line-height: 1.3; color: #6b7080; margin-top: .3rem; }
.rs-gone { position: absolute; inset: 0; display: grid; place-items: center; font-size: .7rem;
  color: #6b7080; text-align: center; }
.rs-choices { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr));
  gap: .9rem; }
.rs-choice { background: #fff; border: 1px solid #e9e6e0; border-radius: 12px; padding: .9rem; }
.rs-choice h5 { font-size: .74rem; font-weight: 600; margin: 0 0 .4rem; padding: 0;
  color: #16865c; letter-spacing: 0; }
.rs-pair > div + div h5 { color: #4b5060; }
.rs-pair { display: flex; gap: 1rem; }
.rs-pair > div:first-child { flex: 0 0 136px; } .rs-pair > div + div { flex: 1; min-width: 0; }
.rs-passed-over { display: flex; flex-wrap: wrap; gap: .5rem; }
.rs-passed-over .rs-pic { width: 64px; }
.rs-passed-over .rs-pic:only-child { width: 104px; }
.rs-prompt { margin: .75rem 0 0; font-size: .92rem; line-height: 1.4; overflow-wrap: anywhere; }
.rs-when { margin: .15rem 0 0; font-size: .76rem; color: #6b7080; }
.rs-chips { display: flex; flex-wrap: wrap; gap: .35rem; }
.rs-chips:empty { display: none; } .rs-chips + .rs-chips { margin-top: .35rem; }
.rs-chip { font-size: .78rem; line-height: 1; padding: .34rem .55rem; border-radius: 999px;
  background: #eef0fa; color: #2c3f94; white-space: nowrap; }
.rs-chip.quiet { background: #f1efeb; color: #4b5060; }
.rs-chip.warn { background: #fdf0de; color: #8a4b06; }
.rs-over + .rs-gallery { margin-top: .35rem; }
.rs-card-head + .rs-gallery, .rs-gallery + .rs-chips { margin-top: .7rem; }
[class*="st-key-card"] .stButton button { min-height: 2rem; padding: .1rem .7rem;
  font-size: .86rem; }
[data-testid="stTextInputRootElement"], [data-testid="stTextInputRootElement"] > div,
[data-testid="stTextInputRootElement"] input { background: #fff; }
.st-key-top > :last-child { margin-left: auto; }
.st-key-found, .st-key-stale { gap: .5rem; }
.st-key-found .stButton button, .st-key-stale .stButton button { min-height: 2.1rem;
  padding: .15rem .75rem; font-size: .9rem; font-variant-numeric: tabular-nums; }
.stPlotlyChart { border-radius: 12px; overflow: hidden; }
[class*="st-key-plain"] .stPlotlyChart { border: 1px solid #e9e6e0; background: #fff; }
.rs-hint { display: flex; flex-wrap: wrap; gap: .4rem .8rem; align-items: center;
  background: #fdf6ea; border: 1px solid #f3e3c6; border-radius: 12px; padding: .7rem 1rem;
  font-size: .92rem; color: #6b4510; }
.rs-hint code { background: #fff; color: #1b2130; padding: .22rem .5rem; border-radius: 6px; }
.rs-card-head { display: flex; justify-content: space-between; align-items: baseline; gap: .6rem; }
.rs-card-head b { font-weight: 650; overflow-wrap: anywhere; }
.rs-card-head span { color: #6b7080; font-size: .82rem; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.rs-bars { display: grid; gap: .4rem; max-width: 34rem; }
.rs-bar { display: grid; grid-template-columns: 7rem 1fr 7.5rem; gap: .7rem; align-items: center;
  font-size: .88rem; }
.rs-bar i { background: #efede8; border-radius: 4px; height: 8px; }
.rs-bar b { display: block; height: 8px; border-radius: 4px; background: #3454d1; }
.rs-bar small { color: #6b7080; }
.rs-empty { background: #fff; border: 1px solid #e9e6e0; border-radius: 14px;
  padding: 1.6rem 1.8rem; margin: 1rem 0; max-width: 44rem; }
.rs-empty h3 { font-size: 1.3rem; margin: 0; padding: 0; letter-spacing: -.01em; }
.rs-empty p { color: #5a6070; margin: .4rem 0 1rem; }
.rs-empty ol { margin: 0; padding: 0; list-style: none; display: grid; gap: .7rem; }
.rs-empty li { display: flex; flex-wrap: wrap; gap: .3rem .8rem; align-items: baseline; }
.rs-empty code { background: #f1efeb; color: #1b2130; padding: .28rem .55rem; border-radius: 7px;
  font-size: .88rem; }
.rs-empty li span { color: #6b7080; font-size: .9rem; }
[data-testid="stVerticalBlockBorderWrapper"], .stVerticalBlock[class*="st-key-card"] {
  background: #fff; }
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] * {
  color: #5a6070 !important; opacity: 1 !important; }
@media (max-width: 640px) {
  .st-key-asked > :first-child { flex: 1 0 100% !important; }
  .st-key-asked > * + * { flex: 1 1 0 !important; width: auto !important; }
  [class*="st-key-card"] { padding: .6rem .7rem !important; gap: .5rem !important; }
  [class*="st-key-card"] .rs-gallery.rs-s { grid-template-columns: repeat(5, 44px); }
  .st-key-grid-user, .st-key-grid-member { display: grid; grid-template-columns: 1fr 1fr;
    gap: .6rem; }
  :is(.st-key-grid-user, .st-key-grid-member) > *,
  :is(.st-key-grid-user, .st-key-grid-member) > * > .stHorizontalBlock { display: contents; }
  :is(.st-key-grid-user, .st-key-grid-member) .stColumn { width: auto; min-width: 0; }
  :is(.st-key-grid-user, .st-key-grid-member) .rs-card-head,
  :is(.st-key-grid-user, .st-key-grid-member) .rs-card-head > * { display: block; }
  :is(.st-key-grid-user, .st-key-grid-member) .rs-gallery.rs-s {
    grid-template-columns: repeat(3, 1fr); margin-top: .4rem; }
  :is(.st-key-grid-user, .st-key-grid-member) .rs-pic:nth-child(n + 4) { display: none; }
  .stMainBlockContainer, .block-container { padding: .9rem .9rem 3rem; }
  .st-key-top { gap: .6rem; }
  .st-key-top > :nth-child(2) { order: 3; width: 100% !important; }
  .st-key-navigation [role="radiogroup"] { width: 100%; flex-wrap: nowrap; }
  .st-key-navigation button { flex: 1 1 auto; padding: 0 .3rem !important; min-width: 0; }
  .st-key-navigation button p { font-size: .84rem !important; }
  .rs-title h2 { font-size: 1.5rem; }
  .rs-tiles { grid-template-columns: 1fr 1fr; gap: .55rem; }
  .rs-tile:last-child:nth-child(odd) { grid-column: 1 / -1; }
  .rs-tile { display: grid; grid-template-columns: 1fr auto; align-items: baseline;
    column-gap: .5rem; padding: .45rem .75rem; }
  .rs-value { font-size: 1.05rem; } .rs-note { grid-column: 1 / -1; }
  .rs-choices { grid-template-columns: 1fr; }
  .rs-pair > div:first-child { flex-basis: 96px; }
  .rs-passed-over .rs-pic:only-child { width: 96px; }
  .rs-gallery.rs-m .rs-pic { width: calc((100% - 1.8rem) / 4); }
  .rs-gallery.rs-l .rs-pic { width: calc((100% - .6rem) / 2); }
  .rs-bar { grid-template-columns: 5.5rem 1fr 6rem; }
  .rs-empty { padding: 1.1rem; }
}
</style>
"""
"""The style sheet; class names begin with rs- lest they meet Streamlit's own."""
