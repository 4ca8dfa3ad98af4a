"""The JSON documents in featcache's files: what may stand in one is declared in one place, and checked on opening it.

`featcache.core.documents.kinds` has the parts that formats are made of, and
`featcache.core.documents.document_format` reads and checks a document. The formats themselves:

===========================  =========================================================================
a recipe                     `featcache.core.documents.recipe`
a classifier                 `featcache.core.documents.classifier_document`, `featcache.classifier.loading`
a cache                      `featcache.cache.documents`
a sweep's results            `featcache.sweeps.results`
a fine-tuning run            `featcache.finetuning.runs.run_folder`
its checkpoints              `featcache.finetuning.runs.checkpoints`
recorded weights             `featcache.backbones.weights.lock_file`
the owner of a lock          `featcache.core.disk.lock`
===========================  =========================================================================
"""
