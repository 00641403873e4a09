// The links in the header of a dashboard, as Grafana draws them: one a dashboard with the tags, or a menu of them.
import { LinkButton } from '@grafana/ui';

/* eslint-disable @typescript-eslint/no-explicit-any -- the document is checked against its schema elsewhere */
export function Links({ dashboard, others }: { dashboard: any; others: any[] }) {
  const shown = dashboard.links
    // Grafana 12 hides these, 13 puts them into a menu.
    .filter((link: any) => link.placement !== 'inControlsMenu')
    .flatMap((link: any) => (link.type === 'dashboards' && !link.asDropdown ? ofTags(link, dashboard, others) : [link]));
  return (
    <div style={{ display: 'flex', flexWrap: 'wrap', gap: 8 }}>
      {shown.map(({ title, url, keepTime, includeVars }: any) => (
        <LinkButton
          key={title}
          data-link
          size="sm"
          variant="secondary"
          icon="apps"
          fill="outline"
          href={`${url ?? '#'}?${[...(keepTime ? ['from', 'to'] : []), ...(includeVars ? ['var'] : [])].join('&')}`}
        >
          {title}
        </LinkButton>
      ))}
    </div>
  );
}

function ofTags(link: any, dashboard: any, others: any[]) {
  return others
    .filter((other) => other.uid !== dashboard.uid && link.tags.every((tag: string) => other.tags.includes(tag)))
    .map((other) => ({ ...link, title: other.title, url: `/d/${other.uid}` }));
}
