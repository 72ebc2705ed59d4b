/*
 * sniff.h: a file's type by its first bytes.
 *
 * The table follows WHATWG MIME Sniffing (section 6: images, audio and video,
 * archives), with PDF, TIFF, HEIC/AVIF (ISO BMFF brands), SVG left out on
 * purpose (it is text and active content).  What the client claims is never
 * an input.
 */

#ifndef SLUICE_SNIFF_H
#define SLUICE_SNIFF_H

#include <stddef.h>

#define SLUICE_SNIFF_BYTES  64    /* as many of the first bytes as it looks at */

/*
 * data, len  the beginning of the file: SLUICE_SNIFF_BYTES, or all of it when
 *            it is shorter
 *
 * Returns a static, lower-case type such as "image/jpeg", never NULL:
 * "text/plain" when the bytes are printable UTF-8 text without NUL,
 * "application/octet-stream" for all else.
 */
const char *sluice_sniff(const unsigned char *data, size_t len);

#endif /* SLUICE_SNIFF_H */
