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
#undef ngx_queue_last

/* "pure", so that what lies around the element stays known. */
void ngx_queue_remove(ngx_queue_t *q) __attribute__((pure));
ngx_queue_t *ngx_queue_head(ngx_queue_t *h);
ngx_queue_t *ngx_queue_last(ngx_queue_t *h);
