// What does not fit: texts that a box around them cuts off, and columns of amounts that are too narrow for a large one.
const LARGE_AMOUNT = '$999.99 Mil'; // Grafana shortens what is larger than a thousand

export interface Cut {
  text: string;
  header: boolean;
  column: string;
}

// Texts of which a part is outside a box that clips; downwards only where nothing is meant to scroll.
export function cutTexts(root: Element, downwards: boolean): Cut[] {
  const found: Cut[] = [];
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    range.selectNodeContents(node);
    const rect = range.getBoundingClientRect();
    const shown = rect.width > 1 && node.parentElement!.clientWidth !== 1; // else it is for screen readers
    if (node.textContent?.trim() && shown && isCut(rect, node.parentElement!, root, downwards)) {
      found.push({ text: node.textContent, ...placeOf(node.parentElement!) });
    }
  }
  return found;
}

function isCut(text: DOMRect, from: Element, root: Element, downwards: boolean): boolean {
  for (let box: Element | null = from; box && root.contains(box); box = box.parentElement) {
    const { overflowX, overflowY, display } = getComputedStyle(box);
    const edge = box.getBoundingClientRect();
    if (display !== 'inline' && overflowX !== 'visible' && (text.right > edge.right + 1 || text.left < edge.left - 1)) {
      return true;
    }
    if (downwards && overflowY !== 'visible' && text.bottom > edge.bottom + 3) {
      return true;
    }
  }
  return false;
}

function placeOf(element: Element) {
  const cell = element.closest('[role="columnheader"], [role="gridcell"]');
  return { header: cell?.getAttribute('role') === 'columnheader', column: cell ? columnOf(cell) : '' };
}

function columnOf(cell: Element): string {
  const at = cell.getAttribute('aria-colindex');
  const header = cell.closest('[role="grid"]')?.querySelector(`[role="columnheader"][aria-colindex="${at}"]`);
  return header?.textContent ?? '';
}

export function columnsOf(root: Element): string[] {
  return [...root.querySelectorAll('[role="columnheader"]')].map((header) => header.textContent ?? '');
}

// Which of these columns have no room for a large amount.
export function narrowColumns(root: Element, amounts: Set<string>): string[] {
  return [...root.querySelectorAll('[role="columnheader"]')]
    .filter((header) => amounts.has(header.textContent ?? '') && roomIn(header) < widthOf(LARGE_AMOUNT, header))
    .map((header) => header.textContent ?? '');
}

function roomIn(header: Element): number {
  const { paddingLeft, paddingRight } = getComputedStyle(header);
  return header.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
}

function widthOf(text: string, like: Element): number {
  const { fontSize, fontFamily } = getComputedStyle(like);
  const context = document.createElement('canvas').getContext('2d')!;
  context.font = `${fontSize} ${fontFamily}`;
  return context.measureText(text).width;
}
