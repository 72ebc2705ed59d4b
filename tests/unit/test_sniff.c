/*
 * test_sniff.c: types by the first bytes.
 *
 * The vectors are the shortest that each format has.  All are given in a heap
 * block of their exact size, so ASan sees a read beyond.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "sniff.h"

#include <stdlib.h>
#include <string.h>


static const char *
sniff(const char *data, size_t len)
{
    const char     *type;
    unsigned char  *copy;

    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    type = sluice_sniff(copy, len);
    free(copy);

    return type;
}


#define check(data, type)                                                    \
    assert_string_equal(sniff(data, sizeof(data) - 1), type)


static void
test_images_are_known(void **state)
{
    (void) state;

    check("\xff\xd8\xff\xe0", "image/jpeg");
    check("\xff\xd8\xff\xe1 Exif", "image/jpeg");
    check("\xff\xd8\xff\xdb", "image/jpeg");
    check("\x89PNG\r\n\x1a\n", "image/png");
    check("GIF87a", "image/gif");
    check("GIF89a", "image/gif");
    check("RIFF\x24\0\0\0WEBPVP8 ", "image/webp");
    check("RIFF\x24\0\0\0WEBPVP8L", "image/webp");
    check("RIFF\x24\0\0\0WEBPVP8X", "image/webp");
    check("BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "image/bmp");
    check("BM\x46\0\0\0\0\0\0\0\x8a\0\0\0\x7c\0\0\0", "image/bmp");
    check("BM\x46\0\0\0\0\0\0\0\x1a\0\0\0\x0c\0\0\0", "image/bmp");
    check("\0\0\1\0\1\0\x10\x10", "image/x-icon");
    check("\0\0\2\0\1\0\x10\x10", "image/x-icon");
    check("II*\0\x08\0\0\0", "image/tiff");
    check("MM\0*\0\0\0\x08", "image/tiff");
    check("II+\0\x08\0\0\0", "image/tiff");
    check("MM\0+\0\x08\0\0", "image/tiff");
}


static void
test_iso_media_is_told_by_its_brands(void **state)
{
    (void) state;

    check("\0\0\0\x1c" "ftypavif\0\0\0\0avifmif1miaf", "image/avif");
    check("\0\0\0\x1c" "ftypavis\0\0\0\0avifmif1miaf", "image/avif");
    check("\0\0\0\x18" "ftypheic\0\0\0\0mif1heic", "image/heic");
    check("\0\0\0\x18" "ftypmif1\0\0\0\0mif1heic", "image/heic");
    check("\0\0\0\x1c" "ftypmif1\0\0\0\0mif1avifmiaf", "image/avif");
    check("\0\0\0\x14" "ftypmif1\0\0\0\0mif1", "image/heif");
    check("\0\0\0\x20" "ftypisom\0\0\2\0isomiso2avc1mp41", "video/mp4");
    check("\0\0\0\x14" "ftypmp42\0\0\0\0mp42", "video/mp4");
    check("\0\0\0\x14" "ftypXXXX\0\0\0\0mp41", "video/mp4");
    check("\0\0\0\x14" "ftypM4A \0\0\0\0M4A ", "audio/mp4");
    check("\0\0\0\x14" "ftypqt  \0\0\0\0qt  ", "video/quicktime");
    check("\0\0\0\x14" "ftyp3gp5\0\0\0\0isom", "video/3gpp");
    check("\0\0\0\x08" "wide\0\0\0\0mdat", "video/quicktime");
    check("\0\0\1\x08" "moov\0\0\0\x6cmvhd", "video/quicktime");
}


static void
test_iso_media_that_says_nothing_is_a_stream_of_bytes(void **state)
{
    (void) state;

    /* unknown brands, brands behind the box, a size that is none */
    check("\0\0\0\x14" "ftypXXXX\0\0\0\0YYYY", "application/octet-stream");
    check("\0\0\0\x10" "ftypXXXX\0\0\0\0mp41", "application/octet-stream");
    check("\0\0\0\x0b" "ftypmp42\0\0\0\0mp42", "application/octet-stream");
    check("\0\0\0\x14" "ftyp", "application/octet-stream");
    check("\0\0\0\x14" "ftypmp4", "application/octet-stream");
}


static void
test_video_and_audio_are_known(void **state)
{
    (void) state;

    check("\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\xf7\x81\1\x42\xf2\x81\4"
          "\x42\xf3\x81\x08\x42\x82\x84webm", "video/webm");
    check("\x1a\x45\xdf\xa3\xa3\x42\x86\x81\1\x42\x82\x88matroska",
          "video/x-matroska");
    check("ID3\3\0\0\0\0\0\0", "audio/mpeg");
    check("\xff\xfb\x90\x64", "audio/mpeg");
    check("\xff\xf3\x40\xc0", "audio/mpeg");
    check("OggS\0\2\0\0", "application/ogg");
    check("RIFF\x24\0\0\0WAVEfmt ", "audio/wave");
    check("RIFF\x24\0\0\0AVI LIST", "video/avi");
    check("FORM\0\0\0\0AIFF", "audio/aiff");
    check("MThd\0\0\0\6", "audio/midi");
}


static void
test_archives_and_documents_are_known(void **state)
{
    (void) state;

    check("PK\3\4\x14\0", "application/zip");
    check("PK\5\6\0\0", "application/zip");
    check("\x1f\x8b\x08\0", "application/x-gzip");
    check("Rar!\x1a\x07\0", "application/x-rar-compressed");
    check("%PDF-1.7\n", "application/pdf");
    check("%!PS-Adobe-3.0\n", "application/postscript");
}


static void
test_utf8_text_is_plain(void **state)
{
    (void) state;

    check("", "text/plain");
    check("Hello\r\n\tworld\f\x1b[0m", "text/plain");
    check("\xef\xbb\xbfGr\xc3\xbc\xc3\x9f" "e \xf0\x9f\x90\x95", "text/plain");

    /* beginnings that a shorter signature would take */
    check("BMW and others, a report on the year", "text/plain");
    check("ID3 is a tag of music files", "text/plain");
    check("RIFFraff", "text/plain");
    check("MM", "text/plain");
    check("PK", "text/plain");
}


static void
test_active_content_is_plain_text(void **state)
{
    (void) state;

    check("<svg xmlns=\"http://www.w3.org/2000/svg\"/>", "text/plain");
    check("<?xml version=\"1.0\"?><svg/>", "text/plain");
    check("<!DOCTYPE html><script>", "text/plain");
}


static void
test_anything_else_is_a_stream_of_bytes(void **state)
{
    (void) state;

    check("a\0b", "application/octet-stream");
    check("\0", "application/octet-stream");
    check("a\1b", "application/octet-stream");
    check("caf\xe9 cr\xe8me", "application/octet-stream");
    check("\xff\xfeH\0i\0", "application/octet-stream");      /* UTF-16 */
    check("\xc0\xaf", "application/octet-stream");
    check("\xed\xa0\x80", "application/octet-stream");
    check("\xff\xd8", "application/octet-stream");
    check("\x89PNG\r\n\x1a", "application/octet-stream");
    check("RIFF\x24\0\0\0ELSE", "application/octet-stream");
    check("BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x29\0\0\0",
          "application/octet-stream");
    check("\x1a\x45\xdf\xa3\x9f\x42\x82\x84other", "application/octet-stream");

    /* MPEG audio: layers I and II, no rate, no bit rate, AAC */
    check("\xff\xff\x90\x64", "application/octet-stream");
    check("\xff\xfd\x90\x64", "application/octet-stream");
    check("\xff\xfb\x9c\x64", "application/octet-stream");
    check("\xff\xfb\xf0\x64", "application/octet-stream");
    check("\xff\xf1\x50\x80", "application/octet-stream");
}


static void
test_a_character_may_be_cut_only_where_the_file_goes_on(void **state)
{
    char    text[SLUICE_SNIFF_BYTES + 4];
    size_t  len;

    (void) state;

    /* a three-byte character at each place, the file ending inside of it */
    for (len = 2; len < SLUICE_SNIFF_BYTES; len++) {
        memset(text, 'x', sizeof(text));
        memcpy(text + len - 2, "\xe2\x82", 2);
        assert_string_equal(sniff(text, len), "application/octet-stream");
    }

    memset(text, 'x', sizeof(text));
    memcpy(text + SLUICE_SNIFF_BYTES - 2, "\xe2\x82\xac", 3);
    assert_string_equal(sniff(text, SLUICE_SNIFF_BYTES), "text/plain");
    assert_string_equal(sniff(text, sizeof(text)), "text/plain");

    memcpy(text + SLUICE_SNIFF_BYTES - 2, "\xe2" "a", 2);
    assert_string_equal(sniff(text, sizeof(text)), "application/octet-stream");
}


static void
test_bytes_behind_the_first_64_change_nothing(void **state)
{
    char  text[SLUICE_SNIFF_BYTES + 10];

    (void) state;

    memset(text, 'x', sizeof(text));
    memset(text + SLUICE_SNIFF_BYTES, 0, 10);
    assert_string_equal(sniff(text, sizeof(text)), "text/plain");
}


static void
test_no_beginning_of_any_length_is_read_beyond(void **state)
{
    size_t             len, i;
    static const char  rows[][64] = {
        "\0\0\0 ftypisom\0\0\2\0XXXXXXXXXXXX", "RIFF\0\0\0\0WEBPVP8 ",
        "\x1a\x45\xdf\xa3\x42\x82\x84webm", "BM\0\0\0\0\0\0\0\0\0\0\0\0\x28",
        "FORM\0\0\0\0AIFF", "\xff\xfb\x90", "\xf0\x9f\x90\x95"
    };

    (void) state;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (len = 0; len <= sizeof(rows[i]); len++) {
            assert_non_null(sniff(rows[i], len));
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_images_are_known),
        cmocka_unit_test(test_iso_media_is_told_by_its_brands),
        cmocka_unit_test(test_iso_media_that_says_nothing_is_a_stream_of_bytes),
        cmocka_unit_test(test_video_and_audio_are_known),
        cmocka_unit_test(test_archives_and_documents_are_known),
        cmocka_unit_test(test_utf8_text_is_plain),
        cmocka_unit_test(test_active_content_is_plain_text),
        cmocka_unit_test(test_anything_else_is_a_stream_of_bytes),
        cmocka_unit_test(
            test_a_character_may_be_cut_only_where_the_file_goes_on),
        cmocka_unit_test(test_bytes_behind_the_first_64_change_nothing),
        cmocka_unit_test(test_no_beginning_of_any_length_is_read_beyond)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
