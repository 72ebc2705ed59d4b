/*
 * sniff.h: a file's type by its first bytes.
 *
 * The table and the names follow WHATWG MIME Sniffing (section 6: images, audio
 * and video, archives), so it is audio/wave, application/x-gzip, image/x-icon.
 * Added are PDF, TIFF, HEIC, AVIF, QuickTime, Matroska.  SVG and HTML are left
 * out on purpose: they are active content, and come out as text/plain.  What
 * the client claims is never an input.
 */

#ifndef SLUICE_SNIFF_H
#define SLUICE_SNIFF_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

#define SLUICE_SNIFF_BYTES  64    /* of the file's beginning it looks at */

/*
 * data, len  the beginning of the file: SLUICE_SNIFF_BYTES, or all of it when
 *            it is shorter
 *
 * Returns a static, lower-case type such as "image/jpeg", never NULL:
 * "text/plain" when the bytes are printable UTF-8 text without NUL (or none at
 * all), "application/octet-stream" for all else.
 */
const char *sluice_sniff(const unsigned char *data, size_t len);

#pragma GCC visibility pop

#endif /* SLUICE_SNIFF_H */
