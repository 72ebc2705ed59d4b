/*
 * sluice_wire.h: what the nginx module and the processor agree on.
 *
 * Record headers, event types, topic suffixes and the limits both halves rely
 * on.  Holds no code.  The meaning of each is docs/design.md, section 2; the
 * ce_ names are CloudEvents 1.0 in the Kafka protocol binding, binary mode.
 */

#ifndef SLUICE_WIRE_H
#define SLUICE_WIRE_H

/* Record headers.  Values are UTF-8 without control or bidi characters. */
#define SLUICE_H_SPECVERSION     "ce_specversion"      /* always "1.0" */
#define SLUICE_H_TYPE            "ce_type"
#define SLUICE_H_SOURCE          "ce_source"
#define SLUICE_H_ID              "ce_id"               /* upload uuid/part */
#define SLUICE_H_SUBJECT         "ce_subject"          /* client's file name */
#define SLUICE_H_TIME            "ce_time"             /* RFC 3339, UTC, ms */
#define SLUICE_H_CONTENT_TYPE    "content-type"        /* by the bytes */
#define SLUICE_H_CUSTOMER        "ce_customer"
#define SLUICE_H_SHA256          "ce_sha256"           /* lower-case hex */
#define SLUICE_H_SIZE            "ce_size"             /* bytes, decimal */
#define SLUICE_H_FIELD           "ce_field"            /* form field's name */
#define SLUICE_H_CHUNK           "ce_chunk"            /* decimal, from 0 */
#define SLUICE_H_LAST            "ce_last"             /* "true", or missing */
#define SLUICE_H_DATAREF         "ce_dataref"          /* of a reference */
#define SLUICE_H_IDEMPOTENCYKEY  "ce_idempotencykey"
#define SLUICE_H_REDRIVEN        "ce_redriven"         /* how often the record
                                                          was put back from
                                                          late or dead, from 1 */
#define SLUICE_H_TRACEPARENT     "traceparent"

/* What operators may not add with sluice_header. */
#define SLUICE_H_RESERVED_CE     "ce_"
#define SLUICE_H_RESERVED_ERROR  "error-"

/* Added by the processor to what it sends to the late and dead topics. */
#define SLUICE_H_ERROR_STAGE     "error-stage"         /* SLUICE_STAGE_… */
#define SLUICE_H_ERROR_REASON    "error-reason"        /* one sentence */
#define SLUICE_H_ERROR_ATTEMPTS  "error-attempts"      /* 1 + ce_redriven */
#define SLUICE_H_ERROR_TIME      "error-time"          /* RFC 3339, UTC, ms */
#define SLUICE_H_ERROR_TOPIC     "error-topic"
#define SLUICE_H_ERROR_PARTITION "error-partition"
#define SLUICE_H_ERROR_OFFSET    "error-offset"
#define SLUICE_H_ERROR_TIMESTAMP "error-timestamp"     /* ms, of the source */

/* What error-stage says. */
#define SLUICE_STAGE_READ        "read"      /* it can't be read */
#define SLUICE_STAGE_WINDOW      "window"    /* its window is closed or due */
#define SLUICE_STAGE_VERIFY      "verify"    /* its bytes have another hash */
#define SLUICE_STAGE_PUT         "put"       /* the store can never keep it */
#define SLUICE_STAGE_ASSEMBLE    "assemble"  /* its pieces make no file */

#define SLUICE_SPECVERSION       "1.0"
#define SLUICE_LAST              "true"
#define SLUICE_TYPE_FILE         "sluice.file"
#define SLUICE_TYPE_CHUNK        "sluice.chunk"        /* a slice of a file */
#define SLUICE_TYPE_ABORT        "sluice.abort"        /* void those before */
#define SLUICE_TYPE_REFERENCE    "sluice.reference"    /* stored already */
#define SLUICE_TYPE_EVENT        "sluice.event"

/* Topics, by suffix of the one the location names. */
#define SLUICE_TOPIC_CHUNKS      ".chunks"
#define SLUICE_TOPIC_LATE        ".late"
#define SLUICE_TOPIC_DEAD        ".dead"

#define SLUICE_SHA256_LEN        32
#define SLUICE_SHA256_HEX        64
#define SLUICE_CUSTOMER_MAX      128    /* bytes, before percent-encoding */
#define SLUICE_CUSTOMER_ENCODED_MAX  250    /* and after: "c-" and this are
                                               one file name */
#define SLUICE_IDEMPOTENCY_MAX   255    /* bytes of an Idempotency-Key */
#define SLUICE_HEADER_MAX        1024   /* bytes of what operators add */
#define SLUICE_NAME_MAX          255    /* bytes of a file's name */
#define SLUICE_FIELD_MAX         255    /* bytes of a form field's name */

#endif /* SLUICE_WIRE_H */
