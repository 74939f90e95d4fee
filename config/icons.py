"""The portal's own line icons: 16 × 16, 1.5 px strokes in `currentColor`.

Values are the inside of an `<svg>`. A path is data: breaking it over lines would not make it readable.
"""
# ruff: noqa: E501

ICONS = {
    "dashboard": '<path d="M2.5 9.5v4h3v-4zM6.5 2.5v11h3v-11zM10.5 6.5v7h3v-7z"/>',
    "source": '<path d="M2 8h8M7 5l3 3-3 3M10 2.5h3.5v11H10"/>',
    "event": '<path d="M9 1.75 3.5 9H8l-1 5.25L12.5 7H8z"/>',
    "receipt": '<path d="M3.5 1.75v12.5l1.5-1 1.5 1 1.5-1 1.5 1 1.5-1 1.5 1V1.75zM6 5.5h4M6 8.5h4"/>',
    "subscription": '<path d="M4.5 11.5V7a3.5 3.5 0 0 1 7 0v4.5M2.75 11.5h10.5M6.75 13.75h2.5M8 3.5V2"/>',
    "delivery": '<path d="M14 2 1.75 6.75 6.5 9l2.5 5zM14 2 6.5 9"/>',
    "members": '<circle cx="6" cy="5.5" r="2.5"/><path d="M1.75 13.5c.4-2.7 2-4 4.25-4s3.85 1.3 4.25 4M10.5 3.25a2.5 2.5 0 0 1 0 4.5M12 9.9c1.25.55 2 1.75 2.25 3.6"/>',
    "key": '<circle cx="5" cy="11" r="3"/><path d="m7.2 8.8 6-6M10.5 5.5l2 2M12.2 3.8l1.5 1.5"/>',
    "audit": '<path d="M3 2.5h10M3 6.25h10M3 10h5M10.25 11.75l1.5 1.5 2.5-3"/>',
    "settings": '<path d="M2 4.5h6M12 4.5h2M2 11.5h2M8 11.5h6"/><circle cx="10" cy="4.5" r="2"/><circle cx="6" cy="11.5" r="2"/>',
    "tenants": '<path d="M2.5 13.5v-11h6v11M8.5 6.5h5v7M1.5 13.5h13M4.75 5.25h1.5M4.75 8h1.5M4.75 10.75h1.5M11 9h.01M11 11.25h.01"/>',
    "plus": '<path d="M8 3v10M3 8h10"/>',
    "check": '<path d="m3 8.5 3.25 3.25L13 4.75"/>',
    "close": '<path d="m3.75 3.75 8.5 8.5M12.25 3.75l-8.5 8.5"/>',
    "copy": '<rect x="5.5" y="5.5" width="8" height="8" rx="1.5"/><path d="M10.5 5.5V4A1.5 1.5 0 0 0 9 2.5H4A1.5 1.5 0 0 0 2.5 4v5A1.5 1.5 0 0 0 4 10.5h1.5"/>',
    "search": '<circle cx="7" cy="7" r="4.25"/><path d="m10.25 10.25 3.25 3.25"/>',
    "menu": '<path d="M2.5 4.5h11M2.5 8h11M2.5 11.5h11"/>',
    "more": '<path d="M3.5 8h.01M8 8h.01M12.5 8h.01" stroke-width="2.25"/>',
    "down": '<path d="m4.5 6.5 3.5 3.5 3.5-3.5"/>',
    "left": '<path d="M9.75 4.25 6 8l3.75 3.75"/>',
    "right": '<path d="M6.25 4.25 10 8l-3.75 3.75"/>',
    "external": '<path d="M9.5 2.5h4v4M13.5 2.5 7.5 8.5M11.5 9.5v4h-9v-9h4"/>',
    "theme": '<circle cx="8" cy="8" r="5.5"/><path d="M8 2.5v11a5.5 5.5 0 0 0 0-11z" fill="currentColor"/>',
    "warning": '<path d="M8 2.25 14.5 13.5h-13zM8 6.5v3.25M8 11.5h.01"/>',
    "info": '<circle cx="8" cy="8" r="5.75"/><path d="M8 7.5v3.25M8 5.25h.01"/>',
    "inbox": '<path d="M2.5 9.5 4.25 3h7.5l1.75 6.5v3.75h-11zM2.5 9.5H6c0 1.2.8 2 2 2s2-.8 2-2h3.5"/>',
    "refresh": '<path d="M13 8a5 5 0 1 1-1.5-3.55L13 6M13 2.75V6H9.75"/>',
    "trash": '<path d="M2.5 4.25h11M6.25 4V2.5h3.5V4M4 4.25l.6 9.25h6.8l.6-9.25M6.75 7v4M9.25 7v4"/>',
    "edit": '<path d="m3 13 .6-2.9L10.75 3a1.4 1.4 0 0 1 2 0l.25.25a1.4 1.4 0 0 1 0 2L5.9 12.4z"/>',
    "pause": '<path d="M5.5 3.5v9M10.5 3.5v9"/>',
    "play": '<path d="M5 3.25v9.5L12.75 8z"/>',
    "lock": '<rect x="3" y="7" width="10" height="6.5" rx="1.5"/><path d="M5.25 7V5a2.75 2.75 0 0 1 5.5 0v2"/>',
    "link": '<path d="M6.75 9.25a2.6 2.6 0 0 0 3.7 0l2.3-2.3a2.6 2.6 0 0 0-3.7-3.7l-.8.8M9.25 6.75a2.6 2.6 0 0 0-3.7 0l-2.3 2.3a2.6 2.6 0 0 0 3.7 3.7l.8-.8"/>',
    "mail": '<rect x="2" y="3.5" width="12" height="9" rx="1.5"/><path d="m2.5 4.5 5.5 4.25 5.5-4.25"/>',
    "signature": '<path d="M2 10.5c2.5-5.5 4.5-8 5-6.5.7 2-3.5 7-2 7.5 1.2.4 2.3-3.2 3.5-3 .9.2-.2 2.6 1 2.8 1 .1 1.4-1.6 2.6-1.6.7 0 1 .5 1.9.5M2 13.75h12"/>',
    "clock": '<circle cx="8" cy="8" r="5.75"/><path d="M8 4.75V8l2.25 1.5"/>',
}
