// One dashboard, drawn with Grafana's own components from what `take.py` asked Prometheus: window.BOARD.
import { createRoot } from 'react-dom/client';
import { ThemeContext, createTheme, dateTime } from '@grafana/data';
import { GlobalStyles, PanelContextRoot } from '@grafana/ui';
import { EventBusSrv } from '@grafana/data';
import { Body, prepare } from './panels.jsx';

const COLUMN = 58;
const ROW = 30;
const GAP = 8;
const HEAD = 24;
const theme = createTheme({ colors: { mode: 'light' } });
const context = { eventBus: new EventBusSrv(), eventsScope: 'global', sync: () => 0, canAddAnnotations: () => false };

// A plain frame: PanelChrome needs parts that the published modules lack.
function Panel({ panel, range }) {
  const { w, h } = panel.gridPos;
  const frame = { width: w * COLUMN - GAP, height: h * ROW - GAP, border: `1px solid ${theme.colors.border.weak}`, borderRadius: 2 };
  return (
    <div style={{ ...frame, background: theme.colors.background.primary, padding: 8 }}>
      <h6 style={{ height: HEAD, margin: 0, whiteSpace: 'nowrap' }}>{panel.title}</h6>
      <PanelContextRoot.Provider value={context}>
        <Body panel={panel} frames={prepare(panel, theme)} width={frame.width - 18} height={frame.height - HEAD - 18} range={range} theme={theme} />
      </PanelContextRoot.Provider>
    </div>
  );
}

function Board({ board }) {
  const from = dateTime(board.from * 1000);
  const to = dateTime(board.to * 1000);
  const range = { from, to, raw: { from, to } };
  const bottom = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  const place = ({ gridPos }) => ({ position: 'absolute', left: gridPos.x * COLUMN + GAP, top: 44 + gridPos.y * ROW });
  return (
    <div id="board" style={{ position: 'relative', width: 24 * COLUMN + GAP, height: 44 + bottom * ROW + GAP }}>
      <h3 style={{ padding: '10px 12px' }}>{board.title}</h3>
      {board.panels.map((panel) => (
        <div key={panel.id} style={place(panel)}>
          {panel.type === 'row' ? <h5 style={{ padding: '6px 4px' }}>{panel.title}</h5> : <Panel panel={panel} range={range} />}
        </div>
      ))}
    </div>
  );
}

createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <Board board={window.BOARD} />
  </ThemeContext.Provider>
);
