// One dashboard, drawn with Grafana's own components from what `take.py` asked Prometheus: window.BOARD.
import { createRoot } from 'react-dom/client';
import { ThemeContext, createTheme, dateTime } from '@grafana/data';
import { GlobalStyles, PanelChrome, PanelContextProvider } from '@grafana/ui';
import { EventBusSrv } from '@grafana/data';
import { Body, prepare } from './panels.jsx';

const COLUMN = 58;
const ROW = 30;
const GAP = 8;
const theme = createTheme({ colors: { mode: 'light' } });
const context = { eventBus: new EventBusSrv(), eventsScope: 'global', sync: () => 0, canAddAnnotations: () => false };

function Panel({ panel, range }) {
  const { w, h } = panel.gridPos;
  const width = w * COLUMN - GAP;
  const height = h * ROW - GAP;
  return (
    <PanelChrome title={panel.title} width={width} height={height} padding="sm">
      {(innerWidth, innerHeight) => (
        <PanelContextProvider value={context}>
          <Body panel={panel} frames={prepare(panel, theme)} width={innerWidth} height={innerHeight} range={range} theme={theme} />
        </PanelContextProvider>
      )}
    </PanelChrome>
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
