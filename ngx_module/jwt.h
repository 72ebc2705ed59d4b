/*
 * jwt.h: what a verified token claims (RFC 7519), judged.
 *
 * Pure: the time and the rules are arguments.
 */

#ifndef SLUICE_JWT_H
#define SLUICE_JWT_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#pragma GCC visibility push(hidden)

#define SLUICE_JWT_TYPES_MAX  32      /* entries of an upload token's types */
#define SLUICE_JWT_ID_MAX     255     /* bytes of jti */
#define SLUICE_JWT_NUMBER     32      /* bytes of any number's text */

/* The "typ" of an upload token, which is nothing else (RFC 8725 3.11). */
#define SLUICE_JWT_UPLOAD     "upload+jwt"

typedef struct {
    const char  *data;
    size_t       len;
} sluice_jwt_str_t;

typedef struct {
    const sluice_jwt_str_t  *issuers;    /* any of them; n 0: not checked */
    size_t                   nissuers;
    const sluice_jwt_str_t  *audiences;  /* any of them */
    size_t                   naudiences;
    int64_t                  leeway_s;
} sluice_jwt_rules_t;

/* What an upload token allows.  Slices of the claims. */
typedef struct {
    sluice_jwt_str_t   customer;      /* "sub", never empty */
    sluice_jwt_str_t   id;            /* "jti", never empty */
    int64_t            max_file_size; /* bytes; -1: says nothing */
    int64_t            max_files;     /* -1: says nothing */
    size_t             ntypes;        /* 0: says nothing */
    sluice_jwt_str_t   types[SLUICE_JWT_TYPES_MAX];
} sluice_jwt_grant_t;

/*
 * exp is required; nbf, iss and aud are checked by type wherever they stand.
 * An aud is refused where no audience is set (RFC 7519 4.1.3), and required
 * where one is.
 *
 * 0; -1 with *why, a static sentence.
 */
int sluice_jwt_check(const json_t *claims, const sluice_jwt_rules_t *rules,
    int64_t now_s, const char **why);

/*
 * A claim as text: a string lent from the claims, or a number or boolean
 * written to text, which has room for SLUICE_JWT_NUMBER.  The name is compared
 * exactly, then without regard to case, since nginx knows variables in
 * lower-case only.
 *
 * -1: there is none, or two by that name; it is of another type, or a string
 * with control characters, which could end a header or a log line.
 */
int sluice_jwt_claim(sluice_jwt_str_t *value, char *text,
    const json_t *claims, const char *name, size_t len);

/* 1 if the header says that it is an upload token. */
int sluice_jwt_is_upload(const json_t *header);

/* 0 with *grant; -1 with *why.  A bound that can't be read refuses the token:
 * ignored, it would allow more than was meant. */
int sluice_jwt_grant(sluice_jwt_grant_t *grant, const json_t *claims,
    const char **why);

#pragma GCC visibility pop

#endif /* SLUICE_JWT_H */
