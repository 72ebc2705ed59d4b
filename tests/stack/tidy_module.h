/*
 * tidy_module.h: nginx's queue as functions that the analyzer can't look into.
 *
 * With the macros it believes that a removed and freed element is still the
 * head, and reports uses after free that aren't.  Only tidy reads this.
 */

#include <ngx_config.h>
#include <ngx_core.h>

#undef ngx_queue_remove
#undef ngx_queue_head

void ngx_queue_remove(ngx_queue_t *q);
ngx_queue_t *ngx_queue_head(ngx_queue_t *h);
