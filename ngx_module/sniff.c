/*
 * sniff.c: a file's type by its first bytes.
 *
 * Owns the table of signatures.  Does not read beyond SLUICE_SNIFF_BYTES, does
 * not decode anything and does not say that a file is sound: a truncated image
 * is still an image.
 *
 * Where WHATWG's signature is so short that text could begin with it ("BM"), or
 * leads a family (RIFF, ISO BMFF, EBML), a function looks at more bytes.
 */

#include "sniff.h"

#include <stdint.h>
#include <string.h>


typedef struct {
    const char  *magic;
    size_t       len;
    const char  *type;
} sluice_sniff_row_t;

#define SLUICE_SNIFF_ROW(magic, type)  { magic, sizeof(magic) - 1, type }


static const sluice_sniff_row_t  sluice_sniff_rows[] = {
    SLUICE_SNIFF_ROW("\xff\xd8\xff", "image/jpeg"),
    SLUICE_SNIFF_ROW("\x89PNG\r\n\x1a\n", "image/png"),
    SLUICE_SNIFF_ROW("GIF87a", "image/gif"),
    SLUICE_SNIFF_ROW("GIF89a", "image/gif"),
    SLUICE_SNIFF_ROW("II*\0", "image/tiff"),
    SLUICE_SNIFF_ROW("MM\0*", "image/tiff"),
    SLUICE_SNIFF_ROW("II+\0\x08\0\0\0", "image/tiff"),       /* BigTIFF */
    SLUICE_SNIFF_ROW("MM\0+\0\x08\0\0", "image/tiff"),
    SLUICE_SNIFF_ROW("\0\0\1\0", "image/x-icon"),
    SLUICE_SNIFF_ROW("\0\0\2\0", "image/x-icon"),            /* a cursor */
    SLUICE_SNIFF_ROW("ID3\2", "audio/mpeg"),
    SLUICE_SNIFF_ROW("ID3\3", "audio/mpeg"),
    SLUICE_SNIFF_ROW("ID3\4", "audio/mpeg"),
    SLUICE_SNIFF_ROW("OggS\0", "application/ogg"),
    SLUICE_SNIFF_ROW("MThd\0\0\0\6", "audio/midi"),
    SLUICE_SNIFF_ROW("PK\3\4", "application/zip"),
    SLUICE_SNIFF_ROW("PK\5\6", "application/zip"),           /* an empty one */
    SLUICE_SNIFF_ROW("\x1f\x8b\x08", "application/x-gzip"),
    SLUICE_SNIFF_ROW("Rar!\x1a\x07", "application/x-rar-compressed"),
    SLUICE_SNIFF_ROW("%PDF-", "application/pdf"),
    SLUICE_SNIFF_ROW("%!PS-Adobe-", "application/postscript")
};


/* The brands of an ISO BMFF file (ISO 14496-12 4.3); the first one wins. */
static const sluice_sniff_row_t  sluice_sniff_brands[] = {
    SLUICE_SNIFF_ROW("avif", "image/avif"),
    SLUICE_SNIFF_ROW("avis", "image/avif"),
    SLUICE_SNIFF_ROW("heic", "image/heic"),
    SLUICE_SNIFF_ROW("heix", "image/heic"),
    SLUICE_SNIFF_ROW("heim", "image/heic"),
    SLUICE_SNIFF_ROW("heis", "image/heic"),
    SLUICE_SNIFF_ROW("hevc", "image/heic"),
    SLUICE_SNIFF_ROW("hevx", "image/heic"),
    SLUICE_SNIFF_ROW("qt  ", "video/quicktime"),
    SLUICE_SNIFF_ROW("M4A ", "audio/mp4"),
    SLUICE_SNIFF_ROW("M4B ", "audio/mp4"),
    SLUICE_SNIFF_ROW("3gp", "video/3gpp"),
    SLUICE_SNIFF_ROW("3g2", "video/3gpp2"),
    SLUICE_SNIFF_ROW("mp4", "video/mp4"),
    SLUICE_SNIFF_ROW("iso", "video/mp4"),
    SLUICE_SNIFF_ROW("avc1", "video/mp4"),
    SLUICE_SNIFF_ROW("M4V", "video/mp4"),
    SLUICE_SNIFF_ROW("f4v ", "video/mp4"),
    SLUICE_SNIFF_ROW("dash", "video/mp4"),
    SLUICE_SNIFF_ROW("MSNV", "video/mp4")
};


static unsigned
sluice_sniff_at(const unsigned char *data, size_t len, size_t offset,
    const char *magic)
{
    size_t  n;

    n = strlen(magic);

    return len >= offset + n && memcmp(data + offset, magic, n) == 0;
}


static const char *
sluice_sniff_riff(const unsigned char *data, size_t len)
{
    if (sluice_sniff_at(data, len, 0, "RIFF")) {
        if (sluice_sniff_at(data, len, 8, "WEBPVP8")) {
            return "image/webp";
        }

        if (sluice_sniff_at(data, len, 8, "WAVE")) {
            return "audio/wave";
        }

        if (sluice_sniff_at(data, len, 8, "AVI ")) {
            return "video/avi";
        }
    }

    if (sluice_sniff_at(data, len, 0, "FORM")
        && (sluice_sniff_at(data, len, 8, "AIFF")
            || sluice_sniff_at(data, len, 8, "AIFC")))
    {
        return "audio/aiff";
    }

    return NULL;
}


/* "BM", and the size of one of the known information headers at 14. */
static const char *
sluice_sniff_bmp(const unsigned char *data, size_t len)
{
    if (len < 18 || memcmp(data, "BM", 2) != 0
        || data[15] != 0 || data[16] != 0 || data[17] != 0)
    {
        return NULL;
    }

    switch (data[14]) {
    case 12:
    case 16:
    case 40:
    case 52:
    case 56:
    case 64:
    case 108:
    case 124:
        return "image/bmp";
    }

    return NULL;
}


static const char *
sluice_sniff_brand(const unsigned char *brand)
{
    size_t                     i, n;
    const sluice_sniff_row_t  *row;

    n = sizeof(sluice_sniff_brands) / sizeof(sluice_sniff_brands[0]);

    for (i = 0; i < n; i++) {
        row = &sluice_sniff_brands[i];

        if (memcmp(brand, row->magic, row->len) == 0) {
            return row->type;
        }
    }

    return NULL;
}


/*
 * A file of boxes: the major brand tells, else the first compatible brand that
 * is known ("mif1" and "msf1" alone tell only that it is some HEIF image).  Old
 * QuickTime files have no brand at all.
 */
static const char *
sluice_sniff_boxes(const unsigned char *data, size_t len)
{
    size_t       size, i;
    const char  *type;

    if (len < 12) {
        return NULL;
    }

    if (memcmp(data + 4, "ftyp", 4) != 0) {
        if (data[0] == 0
            && (memcmp(data + 4, "moov", 4) == 0
                || memcmp(data + 4, "mdat", 4) == 0
                || memcmp(data + 4, "wide", 4) == 0))
        {
            return "video/quicktime";
        }

        return NULL;
    }

    size = ((size_t) data[0] << 24) | (data[1] << 16) | (data[2] << 8)
           | data[3];

    if (size < 12 || size % 4 != 0) {
        return NULL;
    }

    if (size > len) {
        size = len;
    }

    type = sluice_sniff_brand(data + 8);

    for (i = 16; type == NULL && i + 4 <= size; i += 4) {
        type = sluice_sniff_brand(data + i);
    }

    if (type == NULL && (memcmp(data + 8, "mif1", 4) == 0
                         || memcmp(data + 8, "msf1", 4) == 0))
    {
        return "image/heif";
    }

    return type;
}


/* EBML with its DocType (0x4282) among the first bytes: RFC 8794 11.2.6. */
static const char *
sluice_sniff_ebml(const unsigned char *data, size_t len)
{
    size_t  i;

    if (!sluice_sniff_at(data, len, 0, "\x1a\x45\xdf\xa3")) {
        return NULL;
    }

    for (i = 4; i + 3 < len; i++) {
        if (data[i] != 0x42 || data[i + 1] != 0x82) {
            continue;
        }

        if (sluice_sniff_at(data, len, i + 3, "webm")) {
            return "video/webm";
        }

        if (sluice_sniff_at(data, len, i + 3, "matroska")) {
            return "video/x-matroska";
        }
    }

    return NULL;
}


/* An MPEG audio frame of layer III without an ID3 tag before it. */
static const char *
sluice_sniff_mp3(const unsigned char *data, size_t len)
{
    unsigned  version, layer, bitrate, rate;

    if (len < 4 || data[0] != 0xff || (data[1] & 0xe0) != 0xe0) {
        return NULL;
    }

    version = (data[1] >> 3) & 3;
    layer = (data[1] >> 1) & 3;
    bitrate = data[2] >> 4;
    rate = (data[2] >> 2) & 3;

    if (version == 1 || layer != 1 || bitrate == 0 || bitrate == 15
        || rate == 3)
    {
        return NULL;
    }

    return "audio/mpeg";
}


/*
 * Bytes of the character at data, 0 when it is not UTF-8.  cut tells that the
 * file goes on behind len, so the last character may be cut.
 */
static size_t
sluice_sniff_utf8(const unsigned char *data, size_t len, unsigned cut)
{
    size_t    i, n;
    unsigned  low, high;

    low = 0x80;
    high = 0xbf;

    if (data[0] >= 0xc2 && data[0] <= 0xdf) {
        n = 2;

    } else if ((data[0] & 0xf0) == 0xe0) {
        n = 3;
        low = (data[0] == 0xe0) ? 0xa0 : 0x80;
        high = (data[0] == 0xed) ? 0x9f : 0xbf;

    } else if (data[0] >= 0xf0 && data[0] <= 0xf4) {
        n = 4;
        low = (data[0] == 0xf0) ? 0x90 : 0x80;
        high = (data[0] == 0xf4) ? 0x8f : 0xbf;

    } else {
        return 0;
    }

    for (i = 1; i < n; i++) {
        if (i == len) {
            return cut ? len : 0;
        }

        if (data[i] < low || data[i] > high) {
            return 0;
        }

        low = 0x80;
        high = 0xbf;
    }

    return n;
}


/* UTF-8 without what WHATWG MIME Sniffing calls binary data bytes. */
static unsigned
sluice_sniff_is_text(const unsigned char *data, size_t len, unsigned cut)
{
    size_t  i, n;

    for (i = 0; i < len; i += n) {
        n = 1;

        if (data[i] >= 0x80) {
            n = sluice_sniff_utf8(data + i, len - i, cut);

        } else if (data[i] < 0x20 && strchr("\t\n\f\r\x1b", data[i]) == NULL) {
            n = 0;
        }

        if (n == 0 || data[i] == 0) {
            return 0;
        }
    }

    return 1;
}


const char *
sluice_sniff(const unsigned char *data, size_t len)
{
    size_t                     i, n;
    unsigned                   cut;
    const char                *type;
    const sluice_sniff_row_t  *row;

    cut = (len >= SLUICE_SNIFF_BYTES);

    if (cut) {
        len = SLUICE_SNIFF_BYTES;
    }

    n = sizeof(sluice_sniff_rows) / sizeof(sluice_sniff_rows[0]);

    for (i = 0; i < n; i++) {
        row = &sluice_sniff_rows[i];

        if (len >= row->len && memcmp(data, row->magic, row->len) == 0) {
            return row->type;
        }
    }

    type = sluice_sniff_riff(data, len);

    if (type == NULL) {
        type = sluice_sniff_bmp(data, len);
    }

    if (type == NULL) {
        type = sluice_sniff_boxes(data, len);
    }

    if (type == NULL) {
        type = sluice_sniff_ebml(data, len);
    }

    if (type == NULL) {
        type = sluice_sniff_mp3(data, len);
    }

    if (type != NULL) {
        return type;
    }

    return sluice_sniff_is_text(data, len, cut) ? "text/plain"
                                                : "application/octet-stream";
}
