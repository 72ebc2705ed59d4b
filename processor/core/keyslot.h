/*
 * keyslot.h: which slot of a Redis cluster a key belongs to.
 */

#ifndef SLUICE_CORE_KEYSLOT_H
#define SLUICE_CORE_KEYSLOT_H

#include <stddef.h>

#define KEYSLOTS  16384

/*
 * CRC16 (XMODEM) of the key, or of what stands between its first { and the
 * next } if that is not empty, modulo KEYSLOTS.  Redis Cluster specification,
 * "Hash tags".
 */
unsigned keyslot(const char *key, size_t len);

#endif /* SLUICE_CORE_KEYSLOT_H */
