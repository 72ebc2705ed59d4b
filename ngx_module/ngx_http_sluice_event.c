/*
 * ngx_http_sluice_event.c: a JSON or raw body as one event or many, the
 * format of sluice_produce.
 *
 * Owns the directive, what can be refused before the body, and the answer
 * with its counts.  Where an event ends is event_split.c's to say; what
 * becomes of it is ngx_http_sluice_event_msg.c's.
 */

#include "ngx_http_sluice_conf.h"
#include "ngx_http_sluice_event.h"

/* an event is one message, and librdkafka takes none above 1,000,000,000 */
#define NGX_HTTP_SLUICE_EVENT_MAX   (900 * 1024 * 1024)

/* bytes of the client's Content-Type that go into a record */
#define NGX_HTTP_SLUICE_EVENT_TYPE  255


static char *ngx_http_sluice_event_param(ngx_conf_t *cf,
    ngx_http_sluice_loc_conf_t *slcf, ngx_str_t *param);
static char *ngx_http_sluice_event_key(ngx_conf_t *cf,
    ngx_http_sluice_loc_conf_t *slcf, ngx_str_t *value);
static char *ngx_http_sluice_event_size(ngx_conf_t *cf, void *post,
    void *data);
static ngx_int_t ngx_http_sluice_event_open(ngx_http_sluice_upload_t *up);
static ngx_uint_t ngx_http_sluice_event_encoded(ngx_http_request_t *r);
static ngx_int_t ngx_http_sluice_event_type(
    ngx_http_sluice_event_body_t *body);
static ngx_uint_t ngx_http_sluice_event_json_lines(ngx_str_t *type);
static ngx_int_t ngx_http_sluice_event_feed(ngx_http_sluice_upload_t *up,
    u_char *bytes, size_t len);
static ngx_int_t ngx_http_sluice_event_finish(ngx_http_sluice_upload_t *up);
static ngx_int_t ngx_http_sluice_event_result(
    ngx_http_sluice_event_body_t *body, sluice_event_split_rc_e rc);
static ngx_int_t ngx_http_sluice_event_reply(ngx_http_sluice_upload_t *up);
static void ngx_http_sluice_event_judge(ngx_http_sluice_event_body_t *body);


ngx_conf_post_t  ngx_http_sluice_event_size_post = {
    ngx_http_sluice_event_size
};


static const ngx_http_sluice_format_t  ngx_http_sluice_event = {
    sizeof(ngx_http_sluice_event_body_t),
    ngx_http_sluice_event_open,
    ngx_http_sluice_event_feed,
    ngx_http_sluice_event_finish,
    ngx_http_sluice_event_drop,
    ngx_http_sluice_event_detach,
    ngx_http_sluice_event_reply
};


char *
ngx_http_sluice_event_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    char        *rv;
    ngx_str_t   *value, *topic;
    ngx_uint_t   i;

    value = cf->args->elts;
    topic = NULL;

    if (slcf->topic != NULL) {
        return "is duplicate, a location has one topic";
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (topic == NULL && ngx_strncmp(value[i].data, "topic=", 6) == 0) {
            topic = &value[i];
            continue;
        }

        rv = ngx_http_sluice_event_param(cf, slcf, &value[i]);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (topic == NULL) {
        return "needs topic=NAME";
    }

    slcf->events = 1;

    return ngx_http_sluice_conf_topic(cf, slcf, &value[1], topic,
                                      &ngx_http_sluice_event);
}


static char *
ngx_http_sluice_event_param(ngx_conf_t *cf, ngx_http_sluice_loc_conf_t *slcf,
    ngx_str_t *param)
{
    ngx_str_t  value;

    if (ngx_strcmp(param->data, "split=lines") == 0
        && slcf->split == SLUICE_EVENT_SPLIT_WHOLE)
    {
        slcf->split = SLUICE_EVENT_SPLIT_LINES;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(param->data, "split=array") == 0
        && slcf->split == SLUICE_EVENT_SPLIT_WHOLE)
    {
        slcf->split = SLUICE_EVENT_SPLIT_ARRAY;
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(param->data, "key=", 4) == 0 && param->len > 4
        && slcf->key == NULL)
    {
        value.data = param->data + 4;
        value.len = param->len - 4;
        return ngx_http_sluice_event_key(cf, slcf, &value);
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\", expected topic=NAME, "
                       "split=lines, split=array or key=VALUE, each once",
                       param);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_sluice_event_key(ngx_conf_t *cf, ngx_http_sluice_loc_conf_t *slcf,
    ngx_str_t *value)
{
    slcf->key = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));

    return ngx_http_sluice_conf_complex(cf, value, slcf->key);
}


static char *
ngx_http_sluice_event_size(ngx_conf_t *cf, void *post, void *data)
{
    size_t *size = data;

    if (*size < 1 || *size > NGX_HTTP_SLUICE_EVENT_MAX) {
        return "must be between 1 byte and 900m";
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_sluice_event_open(ngx_http_sluice_upload_t *up)
{
    ngx_http_sluice_event_body_t *body = (ngx_http_sluice_event_body_t *) up;

    ngx_http_request_t          *r;
    ngx_http_sluice_loc_conf_t  *slcf;

    r = up->request;
    slcf = up->slcf;

    if (ngx_http_sluice_event_encoded(r)) {
        up->status = NGX_HTTP_UNSUPPORTED_MEDIA_TYPE;
        up->slug = "encoding";
        up->title = "Encoding not supported";
        ngx_str_set(&up->detail, "The body must not be compressed.");
        return NGX_DECLINED;
    }

    if (slcf->split == SLUICE_EVENT_SPLIT_WHOLE
        && r->headers_in.content_length_n > (off_t) slcf->max_event_size)
    {
        return ngx_http_sluice_event_limit(body, "event-too-large",
                         "Event too large",
                         "The body is larger than sluice_max_event_size.");
    }

    if (slcf->key != NULL
        && ngx_http_complex_value(r, slcf->key, &body->key) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_sluice_event_type(body) != NGX_OK) {
        return NGX_ERROR;
    }

    sluice_event_split_init(&body->split, slcf->split,
                            ngx_http_sluice_event_bytes, body);

    return NGX_OK;
}


static ngx_uint_t
ngx_http_sluice_event_encoded(ngx_http_request_t *r)
{
    ngx_str_t  *encoding;

    encoding = ngx_http_sluice_reply_get(r, "content-encoding");

    return encoding != NULL
           && (encoding->len != sizeof("identity") - 1
               || ngx_strncasecmp(encoding->data, (u_char *) "identity",
                                  sizeof("identity") - 1)
                  != 0);
}


/* What an event is, as its receiver is told. */
static ngx_int_t
ngx_http_sluice_event_type(ngx_http_sluice_event_body_t *body)
{
    size_t                     i;
    ngx_str_t                 *type;
    ngx_http_sluice_upload_t  *up;

    up = &body->upload;

    if (up->slcf->split == SLUICE_EVENT_SPLIT_ARRAY) {
        ngx_str_set(&body->type, "application/json");
        return NGX_OK;
    }

    if (up->request->headers_in.content_type == NULL) {
        return NGX_OK;
    }

    type = &up->request->headers_in.content_type->value;

    if (up->slcf->split == SLUICE_EVENT_SPLIT_LINES
        && ngx_http_sluice_event_json_lines(type))
    {
        ngx_str_set(&body->type, "application/json");
        return NGX_OK;
    }

    for (i = 0; i < type->len; i++) {
        if (type->data[i] < 0x20 || type->data[i] > 0x7e) {
            break;
        }
    }

    /* nearly always: nothing to clean, nothing to copy */
    if (i == type->len && type->len <= NGX_HTTP_SLUICE_EVENT_TYPE) {
        body->type = *type;
        return NGX_OK;
    }

    return ngx_http_sluice_record_text(up->request->pool, &body->type,
                                       NGX_HTTP_SLUICE_EVENT_TYPE,
                                       (char *) type->data, type->len);
}


/* The names that JSON by lines goes by; what follows a ; is left aside. */
static ngx_uint_t
ngx_http_sluice_event_json_lines(ngx_str_t *type)
{
    size_t       len;
    ngx_uint_t   i;

    static const ngx_str_t  names[] = {
        ngx_string("application/x-ndjson"),
        ngx_string("application/ndjson"),
        ngx_string("application/jsonl"),
        ngx_string("application/x-jsonlines"),
        ngx_string("application/json-lines"),
        ngx_string("application/json"),
        ngx_null_string
    };

    for (len = 0; len < type->len; len++) {
        if (type->data[len] == ';' || type->data[len] == ' ') {
            break;
        }
    }

    for (i = 0; names[i].len != 0; i++) {
        if (names[i].len == len
            && ngx_strncasecmp(type->data, names[i].data, len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_sluice_event_feed(ngx_http_sluice_upload_t *up, u_char *bytes,
    size_t len)
{
    ngx_http_sluice_event_body_t *body = (ngx_http_sluice_event_body_t *) up;

    ngx_http_sluice_count(received_bytes, len);

    return ngx_http_sluice_event_result(body,
               sluice_event_split_feed(&body->split, (char *) bytes, len));
}


static ngx_int_t
ngx_http_sluice_event_finish(ngx_http_sluice_upload_t *up)
{
    ngx_http_sluice_event_body_t *body = (ngx_http_sluice_event_body_t *) up;

    return ngx_http_sluice_event_result(body,
                                   sluice_event_split_finish(&body->split));
}


static ngx_int_t
ngx_http_sluice_event_result(ngx_http_sluice_event_body_t *body,
    sluice_event_split_rc_e rc)
{
    u_char                    *p;
    const char                *why;
    ngx_http_sluice_upload_t  *up;

    up = &body->upload;

    switch (rc) {

    case SLUICE_EVENT_SPLIT_MORE:
    case SLUICE_EVENT_SPLIT_END:
        return NGX_OK;

    case SLUICE_EVENT_SPLIT_STOP:
        return (up->status != 0) ? NGX_DECLINED : NGX_ERROR;

    case SLUICE_EVENT_SPLIT_LIMIT:
        up->status = NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
        up->slug = "limit";
        up->title = "Over a limit";
        break;

    default:
        up->status = NGX_HTTP_BAD_REQUEST;
        up->slug = "malformed";
        up->title = "Malformed body";
    }

    why = sluice_event_split_why(&body->split);

    p = ngx_pnalloc(up->request->pool, sizeof("Behind event : ")
                                       + NGX_INT_T_LEN + ngx_strlen(why));
    if (p == NULL) {
        return NGX_ERROR;
    }

    up->detail.data = p;
    up->detail.len = ngx_sprintf(p, "Behind event %ui: %s", body->number, why)
                     - p;

    return NGX_DECLINED;
}


/*
 * 202 says that every event of the body is stored.  Anything else tells how
 * many are, how many surely aren't, and of how many it isn't known.
 */
static ngx_int_t
ngx_http_sluice_event_reply(ngx_http_sluice_upload_t *up)
{
    ngx_http_sluice_event_body_t *body = (ngx_http_sluice_event_body_t *) up;

    u_char      text[sizeof("\"upload\":\"\",\"accepted\":,\"refused\":,"
                            "\"unknown\":") + NGX_HTTP_SLUICE_UUID_LEN
                     + 3 * NGX_INT_T_LEN], *p;
    ngx_str_t   members;

    if (up->status == 0) {
        ngx_http_sluice_event_judge(body);
    }

    p = ngx_cpymem(text, "\"upload\":\"", sizeof("\"upload\":\"") - 1);
    p = ngx_cpymem(p, up->uuid, NGX_HTTP_SLUICE_UUID_LEN);

    if (up->status == NGX_HTTP_ACCEPTED) {
        p = ngx_sprintf(p, "\",\"events\":%ui", up->accepted);

    } else {
        p = ngx_sprintf(p, "\",\"accepted\":%ui,\"refused\":%ui,"
                        "\"unknown\":%ui", up->accepted, up->rejected,
                        body->unknown);
    }

    members.data = text;
    members.len = p - text;

    return ngx_http_sluice_reply_upload(up, &members);
}


static void
ngx_http_sluice_event_judge(ngx_http_sluice_event_body_t *body)
{
    ngx_http_sluice_upload_t  *up;

    up = &body->upload;

    if (up->unavailable) {
        up->status = NGX_HTTP_SERVICE_UNAVAILABLE;
        up->slug = "unavailable";
        up->title = "Events could not be stored";
        ngx_str_set(&up->detail, "Not every event is known to be stored.");
        return;
    }

    if (body->too_large) {
        (void) ngx_http_sluice_event_limit(body, "event-too-large",
                         "Event too large",
                         "An event is larger than the topic allows.");
        return;
    }

    if (body->number == 0) {
        up->status = 422;
        up->slug = "no-events";
        up->title = "No event in the body";
        ngx_str_set(&up->detail, "The body has no event.");
        return;
    }

    up->status = NGX_HTTP_ACCEPTED;
}


ngx_int_t
ngx_http_sluice_event_limit(ngx_http_sluice_event_body_t *body,
    const char *slug, const char *title, const char *detail)
{
    u_char                    *p;
    ngx_http_sluice_upload_t  *up;

    up = &body->upload;

    p = ngx_pnalloc(up->request->pool, ngx_strlen(detail) + NGX_INT_T_LEN
                                       + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    up->status = NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
    up->slug = slug;
    up->title = title;
    up->detail.data = p;
    up->detail.len = ngx_sprintf(p, detail, body->number + 1) - p;
    p[up->detail.len] = '\0';

    return NGX_DECLINED;
}
